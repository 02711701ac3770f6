using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>
/// The float32 and float64 kernels, and the averaged weights of all types, on the emulated GPU against the double-precision reference. The
/// tiles are the same on every GPU, so it does not matter which of the emulated ones runs what.
/// </summary>
public class ExactTests
{
    private static readonly ElementType[] Types = [ElementType.Float32, ElementType.Float64];

    internal static readonly AttentionProblem Plain = new()
    {
        Batch = 1,
        Heads = 2,
        QueryLength = 97,
        KeyLength = 113,
        HeadDim = 64,
        ValueDim = 64,
        Scale = 0.125,
        ElementType = ElementType.Float32,
    };

    /// <summary>d, d_v: every number of tiles' columns and of panels, equal and different, multiples of 8 and not.</summary>
    public static TheoryData<ElementType, int, int> HeadDims
    {
        get
        {
            var data = new TheoryData<ElementType, int, int>();
            foreach ((int d, int dv) in new[] { (1, 1), (3, 17), (32, 96), (59, 111), (80, 40), (128, 128), (64, 256), (160, 24), (256, 256) })
                data.Add(ElementType.Float32, d, dv);
            foreach ((int d, int dv) in new[] { (8, 8), (33, 7), (64, 48), (128, 128), (24, 160), (256, 256) })
                data.Add(ElementType.Float64, d, dv);
            return data;
        }
    }

    [EmulatedTheory]
    [MemberData(nameof(HeadDims))]
    public void AnyHeadDim(ElementType type, int d, int dv)
    {
        AttentionProblem problem = Plain with { Heads = 1, QueryLength = 70, KeyLength = 83, HeadDim = d, ValueDim = dv, Scale = AttentionProblem.DefaultScale(d), ElementType = type };
        GpuCase.Check(EmulatedDevices.SmallAmpere, problem with { Causal = CausalMask.BottomRight }, Passes.All, seed: d);
    }

    /// <summary>Lengths around the tiles of 32 to 128 rows.</summary>
    public static TheoryData<ElementType, int, int> Lengths
    {
        get
        {
            var data = new TheoryData<ElementType, int, int>();
            foreach (ElementType type in Types)
                foreach ((int nq, int nk) in new[] { (1, 1), (1, 300), (64, 128), (129, 127), (200, 270) })
                    data.Add(type, nq, nk);
            return data;
        }
    }

    [EmulatedTheory]
    [MemberData(nameof(Lengths))]
    public void AnyLength(ElementType type, int nq, int nk)
    {
        foreach (CausalMask mask in Enum.GetValues<CausalMask>())
        {
            AttentionProblem problem = Plain with { QueryLength = nq, KeyLength = nk, HeadDim = 16, ValueDim = 8, Scale = 0.25, ElementType = type, Causal = mask };
            GpuCase.Check(EmulatedDevices.Ampere, problem, Passes.All, seed: nq + nk);
        }
    }

    [EmulatedTheory]
    [InlineData(ElementType.Float32, 4, 2)]
    [InlineData(ElementType.Float32, 3, 1)]
    [InlineData(ElementType.Float64, 4, 2)]
    public void GroupedHeads(ElementType type, int heads, int keyHeads)
    {
        AttentionProblem problem = Plain with { Batch = 2, Heads = heads, KeyHeads = keyHeads, HeadDim = 16, ValueDim = 16, ElementType = type };
        GpuCase.Check(EmulatedDevices.Hopper, problem, Passes.All);
        GpuCase.Check(EmulatedDevices.Hopper, problem with { Causal = CausalMask.TopLeft, KeyLength = 40 }, Passes.All);
    }

    public static TheoryData<ElementType, Layout> AllLayouts
    {
        get
        {
            var data = new TheoryData<ElementType, Layout>();
            foreach (ElementType type in Types)
                foreach (Layout layout in Layouts.OfDevices.Where(l => l != Layout.SharedRow))
                    data.Add(type, layout);
            return data;
        }
    }

    [EmulatedTheory]
    [MemberData(nameof(AllLayouts))]
    public void AnyLayout(ElementType type, Layout layout)
    {
        AttentionProblem problem = Plain with { Batch = 2, QueryLength = 70, KeyLength = 45, HeadDim = 24, ValueDim = 40, Causal = CausalMask.BottomRight, ElementType = type };
        GpuCase.Check(EmulatedDevices.Ampere, problem, Passes.All, layout, layout.IsWritable() ? layout : Layout.Contiguous);
    }

    /// <summary>Negative and no scale, and scores of a thousand, which leave a softmax of a single key.</summary>
    [EmulatedTheory]
    [InlineData(ElementType.Float32, -0.3, 1)]
    [InlineData(ElementType.Float64, -0.3, 1)]
    [InlineData(ElementType.Float32, 0, 1)]
    [InlineData(ElementType.Float64, 0, 1)]
    [InlineData(ElementType.Float32, 1, 9)]
    [InlineData(ElementType.Float64, 1, 9)]
    public void AnyScale(ElementType type, double scale, double amplitude)
    {
        AttentionProblem problem = Plain with { QueryLength = 66, KeyLength = 130, HeadDim = 16, ValueDim = 16, Scale = scale, ElementType = type };
        GpuCase.Check(EmulatedDevices.Ampere, problem, Passes.All, amplitude: amplitude);
        GpuCase.Check(EmulatedDevices.Ampere, problem with { Causal = CausalMask.TopLeft }, Passes.All, amplitude: amplitude);
    }

    /// <summary>All scores far from 0: only S - m may enter the exponential.</summary>
    [EmulatedTheory]
    [InlineData(ElementType.Float32)]
    [InlineData(ElementType.Float64)]
    public void ScoresFarBelowZero(ElementType type)
    {
        AttentionProblem problem = Plain with { QueryLength = 40, KeyLength = 150, HeadDim = 16, ValueDim = 16, Scale = 0.25, ElementType = type };
        GpuCase.Check(EmulatedDevices.Ampere, problem, Passes.All, shift: 6);
    }

    [EmulatedTheory]
    [InlineData(ElementType.Float32, 5, 0)]
    [InlineData(ElementType.Float32, 0, 5)]
    [InlineData(ElementType.Float64, 5, 0)]
    [InlineData(ElementType.Float64, 0, 5)]
    public void NoKeysOrNoQueries(ElementType type, int nq, int nk) =>
        GpuCase.Check(EmulatedDevices.Ampere, Plain with { QueryLength = nq, KeyLength = nk, HeadDim = 16, ValueDim = 16, ElementType = type });

    /// <summary>W of 16-bit operands, from the statistics of their own forward pass; an odd number of keys, whose rows are not aligned.</summary>
    [EmulatedTheory]
    [InlineData(ElementType.BFloat16, 64, 96, Layout.Contiguous)]
    [InlineData(ElementType.Float16, 64, 113, Layout.Contiguous)]
    [InlineData(ElementType.BFloat16, 24, 70, Layout.Odd)]
    [InlineData(ElementType.Float16, 32, 70, Layout.Gaps)]
    public void WeightsOfHalfWidthTypes(ElementType type, int d, int nk, Layout layout)
    {
        AttentionProblem problem = Plain with { Heads = 4, KeyHeads = 2, QueryLength = 150, KeyLength = nk, HeadDim = d, ValueDim = d, ElementType = type, Causal = CausalMask.TopLeft };
        GpuCase.Check(EmulatedDevices.Ampere, problem, Passes.Forward | Passes.Weights, layout, layout);
    }

    /// <summary>Equal bits from run to run and in any order of warps, whether this is asked for or not: nothing is summed by atomics.</summary>
    [EmulatedFact]
    public void SameBitsEveryTime()
    {
        AttentionProblem problem = Plain with { QueryLength = 150, KeyLength = 140, HeadDim = 16, ValueDim = 16, Heads = 4, KeyHeads = 2, Causal = CausalMask.TopLeft };
        CudaEngine engine = EmulatedDevices.Engine(EmulatedDevices.Ampere);
        Dictionary<string, double[]>? expected = null;
        foreach (int seed in new[] { 0, 1, 7 })
        {
            EmulatedGpu.Set("seed", seed);
            using var attention = new GpuCase(EmulatedDevices.Ampere, problem);
            Dictionary<string, double[]> results = attention.Run(engine, Passes.All, deterministic: seed == 7).Results();
            expected ??= results;
            foreach ((string name, double[] values) in results)
                Assert.True(values.AsSpan().SequenceEqual(expected[name]), $"{name} differs with seed {seed}");
        }
        EmulatedGpu.Set("seed", 0);
    }

    /// <summary>The backward pass is the derivative of the forward pass: central differences in float64, no reference involved.</summary>
    [EmulatedTheory]
    [InlineData(5, 7, CausalMask.None, 2)]
    [InlineData(7, 5, CausalMask.BottomRight, 1)]
    [InlineData(6, 6, CausalMask.TopLeft, 1)]
    public void GradientCheck(int nq, int nk, CausalMask mask, int keyHeads)
    {
        AttentionProblem problem = Plain with
        {
            KeyHeads = keyHeads,
            QueryLength = nq,
            KeyLength = nk,
            HeadDim = 3,
            ValueDim = 2,
            Scale = 0.7,
            ElementType = ElementType.Float64,
            Causal = mask,
        };
        CudaEngine engine = EmulatedDevices.Engine(EmulatedDevices.Ampere);
        using var attention = new GpuCase(EmulatedDevices.Ampere, problem);
        attention.Run(engine);
        Check("dQ", attention, engine, attention.Query, attention.QueryGradient.ToArray());
        Check("dK", attention, engine, attention.Key, attention.KeyGradient.ToArray());
        Check("dV", attention, engine, attention.Value, attention.ValueGradient.ToArray());
    }

    private static void Check(string name, GpuCase attention, CudaEngine engine, Operand input, double[] gradient)
    {
        const double Step = 1e-5;
        double[] at = input.ToArray();
        for (int i = 0; i < at.Length; i++)
        {
            double above = Objective(+Step), below = Objective(-Step), expected = (above - below) / (2 * Step);
            Assert.True(Math.Abs(gradient[i] - expected) <= 1e-8 * (1 + Math.Abs(expected)), $"{name}: element {i} is {gradient[i]}, the central difference {expected}");

            double Objective(double step)
            {
                double[] moved = [.. at];
                moved[i] += step;
                input.Fill(moved);
                engine.Forward(attention.Problem, attention.ForwardArguments);
                return attention.Output.ToArray().Zip(attention.OutputGradient.ToArray(), (o, g) => o * g).Sum();
            }
        }
        input.Fill(at);
    }
}
