using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>The forward kernel with mma.sync (bfloat16 and half, every GPU since Ampere) on the emulated GPUs against the double-precision reference.</summary>
public class MmaForwardTests
{
    /// <summary>The Hopper device gets these kernels only when it is told so.</summary>
    internal static readonly KernelTuning Mma = KernelTuning.None with { AvoidHopper = true };

    internal static readonly AttentionProblem Plain = new()
    {
        Batch = 1,
        Heads = 2,
        QueryLength = 97,
        KeyLength = 113,
        HeadDim = 32,
        ValueDim = 32,
        Scale = 0.25,
        ElementType = ElementType.BFloat16,
    };

    /// <summary>d, d_v: every way in which tiles are padded and threads are dealt out over their columns; the devices differ in the tiles that fit.</summary>
    public static TheoryData<int, int, int> HeadDims
    {
        get
        {
            var data = new TheoryData<int, int, int>();
            int device = 0;
            foreach ((int d, int dv) in new[] { (1, 1), (8, 8), (40, 40), (59, 59), (64, 64), (80, 96), (111, 111), (128, 128), (160, 160), (192, 128), (256, 256), (256, 256), (256, 256), (16, 256), (256, 24), (72, 33) })
                data.Add(device++ % 3, d, dv);
            return data;
        }
    }

    [EmulatedTheory]
    [MemberData(nameof(HeadDims))]
    public void AnyHeadDim(int device, int d, int dv)
    {
        AttentionProblem problem = Plain with
        {
            QueryLength = 131,
            KeyLength = 150,
            HeadDim = d,
            ValueDim = dv,
            Scale = AttentionProblem.DefaultScale(d),
            ElementType = d % 3 == 0 ? ElementType.Float16 : ElementType.BFloat16,
            Causal = dv % 5 < 2 ? CausalMask.BottomRight : CausalMask.None,
        };
        GpuCase.Check(device, problem, Passes.Forward, tuning: Mma, seed: d + dv);
    }

    public static TheoryData<int, int> Lengths => new() { { 1, 1 }, { 1, 300 }, { 63, 65 }, { 64, 128 }, { 65, 66 }, { 129, 127 }, { 260, 31 }, { 200, 270 }, { 40, 0 } };

    /// <summary>Lengths around the tiles; queries that see no key where there are fewer keys.</summary>
    [EmulatedTheory]
    [MemberData(nameof(Lengths))]
    public void AnyLength(int nq, int nk)
    {
        foreach (CausalMask mask in Enum.GetValues<CausalMask>())
            for (int device = 0; device < 3; device += 2)
                GpuCase.Check(device, Plain with { QueryLength = nq, KeyLength = nk, Causal = mask }, Passes.Forward, seed: nq + nk);
    }

    [EmulatedTheory]
    [InlineData(Layout.Interleaved, Layout.Interleaved)]
    [InlineData(Layout.Gaps, Layout.Gaps)]
    [InlineData(Layout.Odd, Layout.Odd)]
    [InlineData(Layout.Reversed, Layout.Reversed)]
    [InlineData(Layout.SharedHeads, Layout.Contiguous)]
    [InlineData(Layout.SharedRow, Layout.Gaps)]
    public void AnyLayout(Layout inputs, Layout outputs) =>
        GpuCase.Check(EmulatedDevices.Ampere, Plain with { Batch = 2, QueryLength = 70, Causal = CausalMask.TopLeft }, Passes.Forward, inputs, outputs);

    [EmulatedTheory]
    [InlineData(4, 2, CausalMask.None)]
    [InlineData(6, 2, CausalMask.BottomRight)]
    [InlineData(3, 1, CausalMask.TopLeft)]
    public void GroupedHeads(int heads, int keyHeads, CausalMask mask) =>
        GpuCase.Check(EmulatedDevices.SmallAmpere, Plain with { Batch = 2, Heads = heads, KeyHeads = keyHeads, QueryLength = 150, Causal = mask }, Passes.Forward, Layout.Gaps);

    /// <summary>Large scores, for which O is rescaled; scores far below 0, beside which a key that is not there would be large; a negative scale; none.</summary>
    [EmulatedTheory]
    [InlineData(4, 0, 0.25)]
    [InlineData(20, 0, 1)]
    [InlineData(1, 6, 0.25)]
    [InlineData(2, 1, -0.5)]
    [InlineData(1, 0, 0)]
    public void AnyScores(double amplitude, double shift, double scale)
    {
        foreach (CausalMask mask in Enum.GetValues<CausalMask>())
            GpuCase.Check(EmulatedDevices.Ampere, Plain with { QueryLength = 70, KeyLength = 210, Scale = scale, Causal = mask }, Passes.Forward, amplitude: amplitude, shift: shift);
    }

    /// <summary>The keys and values of one head fill the part of L2 that is counted on: the tiles of few heads go together.</summary>
    [EmulatedFact]
    public void HeadsBeyondTheCache() => CheckHeadsBeyondTheCache();

    internal static void CheckHeadsBeyondTheCache(KernelSources? sources = null) =>
        GpuCase.Check(EmulatedDevices.SmallAmpere, Plain with { Heads = 3, QueryLength = 65, KeyLength = 1100, HeadDim = 256, ValueDim = 256, Scale = 1.0 / 16, Causal = CausalMask.BottomRight },
            Passes.Forward, sources: sources);

    /// <summary>Other orders of lanes and warps, and blocks side by side.</summary>
    [EmulatedTheory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void AnySchedule(int seed)
    {
        EmulatedGpu.Set("seed", seed);
        try
        {
            GpuCase.Check(EmulatedDevices.Hopper, Plain with { HeadDim = 64, ValueDim = 64, QueryLength = 150, KeyLength = 200, Causal = CausalMask.BottomRight }, Passes.Forward, tuning: Mma);
            GpuCase.Check(EmulatedDevices.Ampere, Plain with { HeadDim = 128, ValueDim = 128, KeyLength = 200 }, Passes.Forward);
        }
        finally
        {
            EmulatedGpu.Set("seed", 0);
        }
    }

    /// <summary>Shapes of blocks that a measurement may ask for.</summary>
    [EmulatedTheory]
    [InlineData("K_BLOCK_M", 64)]
    [InlineData("K_BLOCK_N", 32)]
    [InlineData("K_BLOCK_N", 128)]
    [InlineData("K_WARPS", 8)]
    [InlineData("K_STAGES", 1)]
    public void AnyBlocks(string macro, int value) =>
        GpuCase.Check(EmulatedDevices.Hopper, Plain with { HeadDim = 64, QueryLength = 140, KeyLength = 270, Causal = CausalMask.BottomRight }, Passes.Forward, tuning: Mma.With("forward_mma", macro, value));
}
