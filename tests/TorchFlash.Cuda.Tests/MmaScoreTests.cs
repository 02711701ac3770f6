using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Cuda.Tests;

/// <summary>Score programs through the kernels with mma.sync (bfloat16 and half) on the emulated GPUs, every pass against the reference.</summary>
public class MmaScoreTests
{
    private static readonly ScoreCases Cases = new();

    private static readonly ScoreOptions Scores = new() { Values = Cases.Load, WantsGradient = _ => false };

    private static readonly AttentionProblem Plain = new()
    {
        Batch = 2,
        Heads = 4,
        KeyHeads = 2,
        QueryLength = 69,
        KeyLength = 141,
        HeadDim = 32,
        ValueDim = 24,
        Scale = 0.25,
        ElementType = ElementType.BFloat16,
    };

    /// <summary>Programs with the device, type, mask and scale that they are tried on; dQ of each both in sums and in a fixed order.</summary>
    public static TheoryData<string, int, ElementType, CausalMask, double> Programs => new()
    {
        { "alibi", EmulatedDevices.Ampere, ElementType.BFloat16, CausalMask.None, 0.25 },
        { "softcap", EmulatedDevices.Hopper, ElementType.BFloat16, CausalMask.TopLeft, -0.25 },
        { "relative", EmulatedDevices.SmallAmpere, ElementType.Float16, CausalMask.BottomRight, 0.25 },
        { "bias", EmulatedDevices.Ampere, ElementType.Float16, CausalMask.None, 0.25 },
        { "window", EmulatedDevices.Ampere, ElementType.BFloat16, CausalMask.None, -0.25 },
        { "documents", EmulatedDevices.Hopper, ElementType.Float16, CausalMask.BottomRight, 0.25 },
        { "boolMask", EmulatedDevices.Ampere, ElementType.BFloat16, CausalMask.TopLeft, 0 },
        { "blocks", EmulatedDevices.SmallAmpere, ElementType.BFloat16, CausalMask.None, 0.25 },
        { "keyMask", EmulatedDevices.Ampere, ElementType.BFloat16, CausalMask.None, 0.25 },
        { "lengths", EmulatedDevices.Hopper, ElementType.BFloat16, CausalMask.None, 0.25 },
        { "heads", EmulatedDevices.Ampere, ElementType.BFloat16, CausalMask.None, 0.25 },
        { "all", EmulatedDevices.Ampere, ElementType.Float16, CausalMask.BottomRight, 0.25 },
        { "minusInfinity", EmulatedDevices.Ampere, ElementType.BFloat16, CausalMask.None, 0.25 },
    };

    [EmulatedTheory]
    [MemberData(nameof(Programs))]
    public void AllPasses(string name, int device, ElementType type, CausalMask causal, double scale) => Check(name, device, type, causal, scale);

    /// <summary>Wide heads: one buffer of K and V, one of Q and dO.</summary>
    [EmulatedTheory]
    [InlineData("all", 128, 128)]
    [InlineData("softcap", 256, 40)]
    [InlineData("window", 40, 160)]
    public void AnyHeadDim(string name, int d, int dv) =>
        GpuCase.Check(EmulatedDevices.SmallAmpere, Plain with { Batch = 1, HeadDim = d, ValueDim = dv, Scale = 1 / Math.Sqrt(d), Score = Cases.ReadyMade[name] }, scores: Scores);

    [EmulatedTheory]
    [InlineData(Layout.Odd, Layout.Odd)]
    [InlineData(Layout.Reversed, Layout.Reversed)]
    [InlineData(Layout.Interleaved, Layout.Gaps)]
    public void AnyLayout(Layout inputs, Layout outputs) =>
        GpuCase.Check(EmulatedDevices.Ampere, Plain with { Batch = 1, Score = Cases.ReadyMade["all"], Causal = CausalMask.TopLeft }, Passes.Forward | Passes.Backward, inputs, outputs, scores: Scores);

    private static ScoreProgram Window(int left) => ScoreProgram.Build(_ => null, g =>
    {
        Node distance = g.Apply(Op.Subtract, g.Leaf(Op.Key), g.Leaf(Op.Query));
        return g.Apply(Op.And, g.Apply(Op.LessOrEqual, g.Parameter(ScoreKind.Int, -left, "left"), distance), g.Apply(Op.LessOrEqual, distance, g.Int(0)));
    });

    private static ScoreProgram Documents(int length)
    {
        var document = new IntTensor(null, length) { Name = "document" };
        return ScoreProgram.Build(_ => null, g => g.Apply(Op.Equal, g.Load(document, g.Leaf(Op.Query)), g.Load(document, g.Leaf(Op.Key))));
    }

    /// <summary>A sequence long enough that tiles are left out, one at a time and sixteen at once: what no tile reads has no influence on anything.</summary>
    [EmulatedTheory]
    [InlineData(ElementType.BFloat16, false, false)]
    [InlineData(ElementType.Float16, true, false)]
    [InlineData(ElementType.Float32, false, false)]
    [InlineData(ElementType.BFloat16, false, true)]
    [InlineData(ElementType.Float32, false, true)]
    public void WhatNoTileReadsReachesNothing(ElementType type, bool deterministic, bool documents) => CheckLeftOut(type, deterministic, documents);

    internal static void CheckLeftOut(ElementType type, bool deterministic, bool documents, KernelSources? sources = null)
    {
        const int N = 1500, Size = 256;
        AttentionProblem problem = Plain with
        {
            Batch = 1,
            Heads = 1,
            KeyHeads = 1,
            QueryLength = N,
            KeyLength = N,
            HeadDim = 8,
            ValueDim = 8,
            ElementType = type,
            Score = documents ? Documents(N) : Window(60),
        };
        using var attention = new GpuCase(EmulatedDevices.Ampere, problem, scores: new() { Values = (_, index) => index[0] / Size, WantsGradient = _ => false });
        foreach (Operand operand in new[] { attention.Query, attention.Key, attention.Value, attention.OutputGradient })
            operand.Set(0, 0, 5, 0, double.NaN);
        attention.Run(EmulatedDevices.Engine(EmulatedDevices.Ampere, sources: sources), deterministic: deterministic);
        foreach ((string name, double[] values) in attention.Results().Where(r => r.Key is "O" or "dQ" or "dK" or "dV"))
        {
            if (!values.Take(Size * 8).Any(double.IsNaN))
                throw new MismatchException($"{name}: the NaN is nowhere");
            if (!values.Skip((documents ? Size : 2 * Size) * 8).All(double.IsFinite))
                throw new MismatchException($"{name}: the NaN is where it was not read");
        }
        attention.AssertMemoryIntact();
    }

    /// <summary>Work follows what is visible: a window and documents in a long sequence take as many products as their tiles.</summary>
    [EmulatedTheory]
    [InlineData(false, 0.25)]
    [InlineData(true, 0.35)]
    public void WorkFollowsWhatIsVisible(bool documents, double most)
    {
        const int N = 1500, Size = 256;
        AttentionProblem problem = Plain with { Batch = 1, Heads = 1, KeyHeads = 1, QueryLength = N, KeyLength = N, HeadDim = 16, ValueDim = 16 };
        CudaEngine engine = EmulatedDevices.Engine(EmulatedDevices.Ampere);
        long Products(ScoreProgram? score)
        {
            using var attention = new GpuCase(EmulatedDevices.Ampere, problem with { Score = score }, scores: new() { Values = (_, index) => index[0] / Size, WantsGradient = _ => false });
            attention.Run(engine, Passes.Forward);
            return EmulatedGpu.Statistics["mma"];
        }
        Assert.InRange(Products(documents ? Documents(N) : Window(60)) / (double)Products(null), 0.05, most);
    }

    /// <summary>The kernels with wgmma know no programs: those for every GPU since Ampere take their place.</summary>
    [EmulatedFact]
    public void HopperTakesTheKernelsForEveryGpu()
    {
        var choice = new KernelChoice(new KernelTarget("sm_90a", 90, 232448, HasTensorMaps: true), KernelTuning.None);
        AttentionProblem problem = Plain with { Score = Cases.ReadyMade["alibi"] };
        Assert.Equal("forward_mma", choice.Forward(problem, true, true).Kernel);
        Assert.Equal("backward_mma", choice.Backward(problem, true, true, false).Kernel);
        Assert.Equal("forward_hopper", choice.Forward(problem with { Score = ScoreProgram.Identity }, true, true).Kernel);
        Assert.Equal(choice.BackwardFinish(Plain, true), choice.BackwardFinish(problem, true));
        Assert.Contains("take the mma.sync kernels", EmulatedDevices.Runtime().Describe(), StringComparison.Ordinal);
    }

    /// <summary>Mistakes in what the kernels do with a program, and the program that must show them.</summary>
    public static TheoryData<string, string, string, string> Bugs => new()
    {
        { "window", "forward_mma.cu", "program.exists(row + m * 16 + i / 2 * 8, key", "program.exists(row + m * 16, key" },
        { "alibi", "forward_mma.cu", "x = program(x, row + m * 16 + i / 2 * 8, key + n * 8 + i % 2);", "x = program(x, row + m * 16 + i / 2 * 8, key + n * 8);" },
        { "softcap", "forward_mma.cu", "if (K_NEGATE && !score::MODIFIES)", "if (K_NEGATE)" },
        { "window", "forward_mma.cu", "if (now.cover == Cover::All && (now.tile + 1)", "if ((now.tile + 1)" },
        { "lengths", "forward_mma.cu", "const FoundTile next = visible_tile(now.tile - 1);", "const FoundTile next = visible_tile(now.tile - 2);" },
        { "window", "backward_mma.cu", "if (MASKED && !(i >= from[m][e / 2] && program.exists(i, j)))", "if (MASKED && !(i >= from[m][e / 2]))" },
        { "softcap", "backward_mma.cu", "if (MASKED && !(i >= from[m][e / 2] && program.exists(i, j)))", "if (MASKED && !program.exists(i, j))" },
        { "softcap", "backward_mma.cu", "score::BENDS && weight[e] != 0.f ? weight[e] * slope : weight[e];", "weight[e];" },
        { "alibi", "backward_mma.cu", "weights[m][n / 2][n % 2 * 2 + r]", "weights[m][n / 2][r * 2 + n % 2]" },
        { "heads", "backward_mma.cu", "return Scores(p, unit.batch, unit.head * p.group + step.head);", "return Scores(p, unit.batch, unit.head * p.group);" },
        { "window", "backward_mma.cu", " || (score::HIDES && now.cover != Cover::All)", "" },
        { "heads", "backward_mma.cu", "step.head++, step.tile = first_tile) {", "step.head++) {" },
        { "window", "backward_query_mma.cu", "!(j < seen[i / 2] && program.exists(query, j))", "!(j < seen[i / 2])" },
        { "softcap", "backward_query_mma.cu", "if (score::BENDS && x != 0.f) x *= slope;", "" },
        { "window", "backward_query_mma.cu", "if (now.cover == Cover::All && (now.tile + 1)", "if ((now.tile + 1)" },
        { "documents", "score.cuh", "(int)a.low + e / (nd * nc * nb), (int)b.low + e", "(int)a.low + e / (nd * nc * nb), (int)b.low + 0 * e" },
        { "documents", "score.cuh", "  meet(low, high);\n  return {low, high};", "  return {low, high};" },
        { "keyMask", "score.cuh", "!any_in_warp(!always)", "always" },
    };

    [EmulatedTheory]
    [MemberData(nameof(Bugs))]
    public void BugIsCaught(string program, string file, string text, string replacement)
    {
        object[] data = Programs.Single(p => (string)p[0] == program);
        PlantedBug.AssertCaught(file, text, replacement, sources => Check(program, (int)data[1], (ElementType)data[2], (CausalMask)data[3], (double)data[4], sources));
    }

    private static void Check(string name, int device, ElementType type, CausalMask causal, double scale, KernelSources? sources = null)
    {
        AttentionProblem problem = Plain with { Score = Cases.ReadyMade[name], ElementType = type, Causal = causal, Scale = scale };
        GpuCase.Check(device, problem, Passes.All, Layout.Gaps, Layout.Gaps, sources: sources, scores: Scores);
        GpuCase.Check(device, problem, Passes.Backward, deterministic: true, sources: sources, scores: Scores);
    }
}
