using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>
/// The backward kernels with mma.sync (bfloat16 and half) on the emulated GPUs against the double-precision reference: dK and dV with the sums of
/// dQ, or dQ in a fixed order, and what goes before and after.
/// </summary>
public class MmaBackwardTests
{
    private static readonly AttentionProblem Plain = MmaForwardTests.Plain;
    private static readonly KernelTuning Mma = MmaForwardTests.Mma;

    /// <summary>d, d_v on a device, with dQ in a fixed order or not.</summary>
    public static TheoryData<int, int, int, bool> HeadDims
    {
        get
        {
            var data = new TheoryData<int, int, int, bool>();
            int device = 0;
            foreach ((int d, int dv) in new[] { (1, 1), (8, 8), (32, 32), (59, 59), (64, 64), (64, 64), (96, 80), (111, 111), (128, 128), (160, 160), (192, 64), (256, 256), (256, 256), (256, 256), (16, 200), (200, 24) })
                data.Add(device++ % 3, d, dv, device % 4 == 0);
            return data;
        }
    }

    [EmulatedTheory]
    [MemberData(nameof(HeadDims))]
    public void AnyHeadDim(int device, int d, int dv, bool deterministic)
    {
        AttentionProblem problem = Plain with
        {
            Heads = 1,
            QueryLength = 131,
            KeyLength = 140,
            HeadDim = d,
            ValueDim = dv,
            Scale = AttentionProblem.DefaultScale(d),
            ElementType = d % 3 == 0 ? ElementType.Float16 : ElementType.BFloat16,
            Causal = dv % 5 < 2 ? CausalMask.BottomRight : CausalMask.None,
        };
        GpuCase.Check(device, problem, Passes.Backward, deterministic: deterministic, tuning: Mma, seed: d + dv);
    }

    public static TheoryData<int, int> Lengths => new() { { 1, 1 }, { 1, 300 }, { 63, 65 }, { 64, 128 }, { 65, 66 }, { 129, 127 }, { 260, 31 }, { 140, 270 } };

    [EmulatedTheory]
    [MemberData(nameof(Lengths))]
    public void AnyLength(int nq, int nk)
    {
        foreach (CausalMask mask in Enum.GetValues<CausalMask>())
            foreach (bool deterministic in new[] { false, true })
                GpuCase.Check(EmulatedDevices.SmallAmpere, Plain with { Heads = 1, QueryLength = nq, KeyLength = nk, Causal = mask }, Passes.Backward, deterministic: deterministic, seed: nq + nk);
    }

    [EmulatedTheory]
    [InlineData(Layout.Interleaved, Layout.Interleaved, false)]
    [InlineData(Layout.Gaps, Layout.Gaps, true)]
    [InlineData(Layout.Odd, Layout.Odd, false)]
    [InlineData(Layout.Odd, Layout.Gaps, true)]
    [InlineData(Layout.Reversed, Layout.Reversed, false)]
    [InlineData(Layout.SharedRow, Layout.Gaps, false)]
    public void AnyLayout(Layout inputs, Layout outputs, bool deterministic) =>
        GpuCase.Check(EmulatedDevices.Ampere, Plain with { Batch = 2, QueryLength = 70, Causal = CausalMask.TopLeft }, Passes.Forward | Passes.Backward, inputs, outputs, deterministic);

    [EmulatedTheory]
    [InlineData(4, 2, CausalMask.None, true)]
    [InlineData(6, 2, CausalMask.BottomRight, false)]
    [InlineData(3, 1, CausalMask.TopLeft, false)]
    public void GroupedHeads(int heads, int keyHeads, CausalMask mask, bool deterministic) =>
        GpuCase.Check(EmulatedDevices.SmallAmpere, Plain with { Batch = 2, Heads = heads, KeyHeads = keyHeads, QueryLength = 150, Causal = mask }, Passes.Backward, Layout.Gaps,
            deterministic: deterministic);

    [EmulatedTheory]
    [InlineData(3, 0, 0.25)]
    [InlineData(1, 6, 0.25)]
    [InlineData(2, 1, -0.5)]
    [InlineData(1, 0, 0)]
    public void AnyScores(double amplitude, double shift, double scale)
    {
        foreach (bool deterministic in new[] { false, true })
            GpuCase.Check(EmulatedDevices.Ampere, Plain with { Heads = 1, QueryLength = 70, KeyLength = 150, Scale = scale, Causal = CausalMask.TopLeft }, Passes.Forward | Passes.Backward,
                deterministic: deterministic, amplitude: amplitude, shift: shift);
    }

    /// <summary>In a fixed order every bit is the same whatever the order in which blocks and warps run.</summary>
    [EmulatedFact]
    public void FixedOrderIsFixed()
    {
        AttentionProblem problem = Plain with { HeadDim = 64, ValueDim = 64, QueryLength = 200, KeyLength = 300, Causal = CausalMask.BottomRight };
        using var attention = new GpuCase(EmulatedDevices.Ampere, problem);
        Dictionary<string, double[]>? first = null;
        try
        {
            for (int seed = 0; seed < 3; seed++)
            {
                EmulatedGpu.Set("seed", seed);
                Dictionary<string, double[]> results = attention.Run(EmulatedDevices.Engine(EmulatedDevices.Ampere), deterministic: true).Results();
                first ??= results;
                foreach ((string name, double[] values) in results)
                    Assert.True(values.AsSpan().SequenceEqual(first[name]), $"{name} differs with seed {seed}.");
            }
        }
        finally
        {
            EmulatedGpu.Set("seed", 0);
        }
    }

    [EmulatedTheory]
    [InlineData("K_STAGES", 1)]
    [InlineData("K_BLOCK_M", 64)]
    public void AnyBlocks(string macro, int value) =>
        GpuCase.Check(EmulatedDevices.Hopper, Plain with { HeadDim = 64, QueryLength = 140, KeyLength = 150, Causal = CausalMask.BottomRight }, Passes.Backward, tuning: Mma.With("backward_mma", macro, value));
}
