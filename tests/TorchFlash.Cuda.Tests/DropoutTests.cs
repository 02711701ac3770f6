using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Cuda.Tests;

/// <summary>Dropout and the gradient of the log-sum-exp on the emulated GPUs: every pass against the reference, which drops what <see cref="Dropout.Keeps"/> says.</summary>
public class DropoutTests
{
    private const ulong Seed = 0xFEDCBA9876543210;

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
        ElementType = ElementType.BFloat16,
        Dropout = 0.3,
        DropoutSeed = Seed,
    };

    public static TheoryData<int, ElementType, CausalMask, double, string?> Problems => new()
    {
        { EmulatedDevices.Ampere, ElementType.BFloat16, CausalMask.None, 0.3, null },
        { EmulatedDevices.Hopper, ElementType.Float16, CausalMask.TopLeft, 0.4, null },
        { EmulatedDevices.SmallAmpere, ElementType.BFloat16, CausalMask.BottomRight, 0.1, "all" },
        { EmulatedDevices.Hopper, ElementType.BFloat16, CausalMask.None, 0.3, "window" },
        { EmulatedDevices.Ampere, ElementType.BFloat16, CausalMask.None, 1, null },
        { EmulatedDevices.Ampere, ElementType.Float32, CausalMask.None, 0.3, null },
        { EmulatedDevices.Ampere, ElementType.Float32, CausalMask.BottomRight, 0.3, "softcap" },
        { EmulatedDevices.Ampere, ElementType.Float64, CausalMask.TopLeft, 0.5, "documents" },
        { EmulatedDevices.Ampere, ElementType.Float64, CausalMask.None, 1, null },
    };

    [EmulatedTheory]
    [MemberData(nameof(Problems))]
    public void DropsWhatTheCpuDrops(int device, ElementType type, CausalMask causal, double p, string? program) => Check(device, type, causal, p, program);

    /// <summary>Wide heads and rows that are aligned to elements only.</summary>
    [EmulatedTheory]
    [InlineData(ElementType.BFloat16, 128, 128)]
    [InlineData(ElementType.Float16, 256, 40)]
    [InlineData(ElementType.BFloat16, 59, 64)]
    [InlineData(ElementType.Float32, 128, 40)]
    public void AnyHeadDim(ElementType type, int d, int dv)
    {
        AttentionProblem problem = Plain with { Batch = 1, HeadDim = d, ValueDim = dv, Scale = 1 / Math.Sqrt(d), ElementType = type };
        GpuCase.Check(EmulatedDevices.SmallAmpere, problem, Passes.Forward | Passes.Backward, scores: Options(problem));
    }

    /// <summary>dLSE: dS = P o (dP - delta + dLSE). Rows with nothing to attend to have none, whatever theirs is.</summary>
    [EmulatedTheory]
    [InlineData(EmulatedDevices.Ampere, ElementType.BFloat16, 0.0)]
    [InlineData(EmulatedDevices.Hopper, ElementType.Float16, 0.0)]
    [InlineData(EmulatedDevices.Ampere, ElementType.BFloat16, 0.3)]
    [InlineData(EmulatedDevices.Ampere, ElementType.Float32, 0.0)]
    [InlineData(EmulatedDevices.Ampere, ElementType.Float64, 0.3)]
    public void GradientOfTheLogSumExp(int device, ElementType type, double p) => CheckLogSumExp(device, type, p);

    /// <summary>Mistakes, and what must show them: 16-bit or exact kernels.</summary>
    public static TheoryData<ElementType, string, string, string> Bugs => new()
    {
        { ElementType.BFloat16, "dropout.cuh", "round < 10", "round < 9" },
        { ElementType.BFloat16, "dropout.cuh", "x[2] = head, x[3] = batch;", "x[2] = batch, x[3] = head;" },
        { ElementType.BFloat16, "dropout.cuh", "k1 += 0xBB67AE85u", "k1 += 0xBB67AE84u" },
        { ElementType.BFloat16, "dropout.cuh", "odd ? others >> 2 | own >> 2 << 2 :", "odd ? own >> 2 | others >> 2 << 2 :" },
        { ElementType.BFloat16, "dropout.cuh", "query + (odd ? 8 : 0)", "query" },
        { ElementType.BFloat16, "dropout.cuh", "shuffle_xor(pair, 8);", "pair;" },
        { ElementType.BFloat16, "dropout.cuh", "mine / 2 * 8 + lane / 16 * 4", "mine / 2 * 8" },
        { ElementType.BFloat16, "forward_mma.cu", "p.kept() * rescale / softmax.sum[m][r]", "rescale / softmax.sum[m][r]" },
        { ElementType.BFloat16, "forward_mma.cu", "    if (DROPS) drop(s, j * COLUMNS);\n", "" },
        { ElementType.BFloat16, "backward_mma.cu", "if (!(bits >> e & 1)) weight[e] = 0.f;", ";" },
        { ElementType.BFloat16, "backward_mma.cu", "      if (DROPS) drop(dp, kept);\n", "" },
        { ElementType.BFloat16, "backward_mma.cu", "one[m][r] = p.kept(); }", "one[m][r] = 1.f; }" },
        { ElementType.BFloat16, "backward_query_mma.cu", "    if (DROPS) drop(dp, j * COLUMNS);\n", "" },
        { ElementType.Float32, "dropout.cuh", "return bits(w) >> key % 4;", "return bits(w);" },
        { ElementType.Float32, "exact_stream.cuh", "OF_WEIGHTS && DROPS && is_dropped(p[r][g * VECTOR + e]) ? Real(0) : ", "" },
        { ElementType.Float32, "exact_stream.cuh", "DROPS && is_dropped(p) ? -p : p;", "p;" },
        { ElementType.Float32, "forward_exact.cu", "inverse[r] = p.kept() * add_sink", "inverse[r] = add_sink" },
        { ElementType.Float32, "backward_exact.cu", "one[r] = backward.kept;", "one[r] = 1;" },
        { ElementType.Float32, "backward_exact.cu", "dropped(x, p[r][c + e], kept)", "x" },
        { ElementType.Float32, "backward_query_exact.cu", "    if (DROPS) drop(dp, tile);\n", "" },
        { ElementType.Float32, "weights.cu", "if (DROPS && !(kept >> c % VECTOR & 1)) continue;", "" },
        { ElementType.Float32, "weights.cu", "p.kept() * inverse_of_sum", "inverse_of_sum" },
    };

    [EmulatedTheory]
    [MemberData(nameof(Bugs))]
    public void BugIsCaught(ElementType type, string file, string text, string replacement) =>
        PlantedBug.AssertCaught(file, text, replacement, sources => Check(EmulatedDevices.Ampere, type, CausalMask.None, 0.3, null, sources));

    [EmulatedTheory]
    [InlineData(ElementType.BFloat16, "backward_prepare.cu", "delta -= ldg", "delta += ldg")]
    [InlineData(ElementType.BFloat16, "backward_prepare.cu", "if (l == 0.f) delta = 0.f;\n      else {", "{")]
    [InlineData(ElementType.Float32, "backward_prepare_exact.cu", "sum -= ldg", "sum += ldg")]
    [InlineData(ElementType.Float32, "backward_prepare_exact.cu", "if (ldg((const Real *)p.sum + at) == 0) sum = 0;", "if (false) sum = 0;")]
    public void BugOfTheLogSumExpIsCaught(ElementType type, string file, string text, string replacement) =>
        PlantedBug.AssertCaught(file, text, replacement, sources => CheckLogSumExp(EmulatedDevices.Ampere, type, 0, sources));

    private static ScoreOptions Options(AttentionProblem problem) => new()
    {
        Values = Cases.Load,
        WantsGradient = _ => false,
        Keep = problem.Dropout == 0 ? null : (b, h, i, j) => Dropout.Keeps(problem.DropoutSeed, problem.Dropout, b, h, i, j),
    };

    private static void Check(int device, ElementType type, CausalMask causal, double p, string? program, KernelSources? sources = null)
    {
        AttentionProblem problem = Plain with { ElementType = type, Causal = causal, Dropout = p, Score = program is null ? null : Cases.ReadyMade[program] };
        GpuCase.Check(device, problem, Passes.All, Layout.Gaps, Layout.Gaps, sources: sources, scores: Options(problem));
        GpuCase.Check(device, problem, Passes.Backward, deterministic: true, sources: sources, scores: Options(problem));
    }

    private static void CheckLogSumExp(int device, ElementType type, double p, KernelSources? sources = null)
    {
        AttentionProblem problem = Plain with { Batch = 1, ElementType = type, Dropout = p, Score = Cases.ReadyMade["minusInfinity"] };
        using var attention = new GpuCase(device, problem, scores: Options(problem) with { WithLogSumExpGradient = true });
        for (int head = 0; head < problem.Heads; head++)
            attention.Scores.LogSumExpGradient.Set(0, head, 3, 0, double.PositiveInfinity); // of a row of nothing
        CudaEngine engine = EmulatedDevices.Engine(device, sources: sources);
        attention.Run(engine);
        if (attention.QueryGradient.ToArray().Concat(attention.KeyGradient.ToArray()).Any(x => !double.IsFinite(x)))
            throw new MismatchException("The gradient of a row with nothing to attend to has reached others.");
        for (int head = 0; head < problem.Heads; head++)
            attention.Scores.LogSumExpGradient.Set(0, head, 3, 0, 0);
        attention.Run(engine).AssertResults(Passes.Forward | Passes.Backward);
    }
}
