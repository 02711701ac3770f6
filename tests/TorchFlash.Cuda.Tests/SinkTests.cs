using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>Attention sinks and their gradient on the emulated GPUs, against the reference.</summary>
public class SinkTests
{
    private static readonly ScoreCases Cases = new();

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
        HasSinks = true,
        DropoutSeed = 5,
    };

    public static TheoryData<int, ElementType, CausalMask, double, string?, double> Problems => new()
    {
        { EmulatedDevices.Ampere, ElementType.BFloat16, CausalMask.None, 0.02, null, 0 },
        { EmulatedDevices.Hopper, ElementType.Float16, CausalMask.TopLeft, -0.25, "window", 0 },
        { EmulatedDevices.Ampere, ElementType.BFloat16, CausalMask.None, 0.25, "minusInfinity", 0 },
        { EmulatedDevices.SmallAmpere, ElementType.Float16, CausalMask.None, 0.25, "softcap", 0.2 },
        { EmulatedDevices.Ampere, ElementType.Float32, CausalMask.TopLeft, 0.25, null, 0.2 },
        { EmulatedDevices.Ampere, ElementType.Float64, CausalMask.None, 0.25, "all", 0.2 },
        { EmulatedDevices.Ampere, ElementType.Float64, CausalMask.None, -0.25, "window", 0 },
    };

    [EmulatedTheory]
    [MemberData(nameof(Problems))]
    public void TakesWeightAndGivesNothing(int device, ElementType type, CausalMask causal, double scale, string? program, double dropout) =>
        Check(Plain with { ElementType = type, Causal = causal, Scale = scale, Score = program is null ? null : Cases.ReadyMade[program], Dropout = dropout }, device);

    /// <summary>Rows without a key attend to their sink: O = 0, and the gradient of the log-sum-exp is the sink's. No query: dsink = 0.</summary>
    [EmulatedTheory]
    [InlineData(ElementType.BFloat16)]
    [InlineData(ElementType.Float32)]
    public void RowsWithoutKeys(ElementType type)
    {
        foreach ((int batch, int queries, int keys) in new[] { (1, 90, 40), (1, 20, 0), (1, 0, 20), (0, 20, 20) })
            Check(Plain with { Batch = batch, QueryLength = queries, KeyLength = keys, ElementType = type, Causal = CausalMask.BottomRight }, EmulatedDevices.Ampere);
    }

    /// <summary>Mistakes, where some sinks are above all scores and others are not.</summary>
    [EmulatedTheory]
    [InlineData(ElementType.BFloat16, "scores.cuh", "l = l * rescale + exp2_of((sink - m) * factor);", "l = l * rescale;")]
    [InlineData(ElementType.Float32, "scores.cuh", "m = larger_of(m, sink);", "m = sink;")]
    [InlineData(ElementType.Float32, "scores.cuh", "  return rescale;\n}", "  return 1;\n}")]
    [InlineData(ElementType.BFloat16, "forward_mma.cu", "p.kept() * rescale / softmax.sum[m][r]", "p.kept() / softmax.sum[m][r]")]
    [InlineData(ElementType.BFloat16, "forward_mma.cu", "p.sink(unit.head, scale_log2)", "p.sink(0, scale_log2)")]
    [InlineData(ElementType.Float32, "backward_sinks.cu", "stg(p.gradient + head, -sum)", "stg(p.gradient + head, sum)")]
    [InlineData(ElementType.Float32, "backward_sinks.cu", "const i64 rows = (i64)b * p.heads + head;", "const i64 rows = head;")]
    [InlineData(ElementType.Float32, "backward_sinks.cu", "    sync_threads();\n", "")]
    public void BugIsCaught(ElementType type, string file, string text, string replacement) =>
        PlantedBug.AssertCaught(file, text, replacement, sources => Check(Plain with { ElementType = type, Scale = 0.02 }, EmulatedDevices.Ampere, sources));

    private static void Check(AttentionProblem problem, int device, KernelSources? sources = null)
    {
        var options = new ScoreOptions
        {
            Values = Cases.Load,
            WantsGradient = _ => false,
            WithLogSumExpGradient = true,
            Keep = problem.Dropout == 0 ? null : (b, h, i, j) => Kernels.Scores.Dropout.Keeps(problem.DropoutSeed, problem.Dropout, b, h, i, j),
        };
        GpuCase.Check(device, problem, Passes.All, sources: sources, scores: options);
        GpuCase.Check(device, problem, Passes.Backward, deterministic: true, sources: sources, scores: options);
    }
}
