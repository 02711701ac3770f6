using System.Collections.Immutable;

namespace TorchFlash.Kernels.Cuda;

/// <summary>Which kernels a problem takes, and how they are specialised.</summary>
internal sealed class KernelChoice(KernelTarget target, KernelTuning tuning)
{
    /// <summary>Largest head dimension that the kernels take.</summary>
    public const int MaxHeadDim = 256;

    /// <summary>O, m, l.</summary>
    /// <param name="problem">The problem.</param>
    /// <param name="isAligned">See K_ALIGNED.</param>
    /// <param name="isMappable">Whether tensor maps can describe Q, K, V and O.</param>
    public KernelVariant Forward(in AttentionProblem problem, bool isAligned, bool isMappable) =>
        Variant(IsExact(problem) ? "forward_exact" : UsesHopper(problem, isAligned, isMappable) ? "forward_hopper" : "forward_mma", problem, isAligned);

    /// <summary>delta (all types), log_sum and zeros for the sums of dQ (16-bit types).</summary>
    public KernelVariant BackwardPrepare(in AttentionProblem problem, bool isAligned, bool deterministic) =>
        Variant(IsExact(problem) ? "backward_prepare_exact" : "backward_prepare", Unscored(problem), isAligned, deterministic);

    /// <summary>dK, dV, and sums of dQ (16-bit types, not deterministic).</summary>
    public KernelVariant Backward(in AttentionProblem problem, bool isAligned, bool isMappable, bool deterministic) =>
        Variant(IsExact(problem) ? "backward_exact" : UsesHopper(problem, isAligned, isMappable) ? "backward_hopper" : "backward_mma", problem, isAligned, deterministic);

    /// <summary>dQ from its sums.</summary>
    public KernelVariant BackwardFinish(in AttentionProblem problem, bool isAligned) =>
        Variant("backward_finish", Unscored(problem), isAligned);

    /// <summary>dQ in a fixed order.</summary>
    public KernelVariant BackwardQuery(in AttentionProblem problem, bool isAligned) =>
        Variant(IsExact(problem) ? "backward_query_exact" : "backward_query_mma", problem, isAligned, deterministic: true);

    /// <summary>The gradient of the sinks.</summary>
    public KernelVariant BackwardSinks(in AttentionProblem problem) =>
        Variant("backward_sinks", problem with
        {
            ElementType = IsExact(problem) ? problem.ElementType : ElementType.Float32,
            HeadDim = 1,
            ValueDim = 1,
            Causal = CausalMask.None,
            Scale = 1,
            Dropout = 0,
        }, isAligned: true);

    /// <summary>Averaged weights.</summary>
    public KernelVariant Weights(in AttentionProblem problem, bool isAligned) =>
        Variant("weights", problem with { ValueDim = problem.HeadDim }, isAligned);

    /// <summary>The kernels of the passes over a problem, as <see cref="CudaEngine.Precompile"/> sees it.</summary>
    public IEnumerable<KernelVariant> Variants(AttentionProblem problem, PrecompileOptions options)
    {
        bool aligned = IsAligned(problem.HeadDim, problem.ValueDim) && !options.Misaligned, exact = IsExact(problem);
        yield return Forward(problem, aligned, isMappable: true);
        if (!options.ForwardOnly)
        {
            yield return BackwardPrepare(problem, aligned, options.Deterministic);
            yield return Backward(problem, aligned, isMappable: true, options.Deterministic);
            yield return exact || options.Deterministic ? BackwardQuery(problem, aligned) : BackwardFinish(problem, aligned);
            if (problem.HasSinks)
                yield return BackwardSinks(problem);
        }
        if (options.Weights)
            yield return Weights(problem, IsAligned(problem.HeadDim, problem.HeadDim) && !options.Misaligned);
    }

    /// <summary>float32 and float64: no tensor cores, no sums by atomics.</summary>
    public static bool IsExact(in AttentionProblem problem) => !problem.ElementType.IsHalfWidth();

    /// <summary>Whether K_ALIGNED holds for the dimensions and operands given.</summary>
    public bool IsAligned(int headDim, int valueDim, params ReadOnlySpan<SizedView> operands)
    {
        bool aligned = headDim % 8 == 0 && valueDim % 8 == 0 && !tuning.AvoidAligned;
        foreach (SizedView operand in operands)
            aligned &= operand.IsAligned;
        return aligned;
    }

    /// <summary>Whether kernels with wgmma and TMA do what a problem asks for here, if its operands lie as they must: score programs, sinks and dropout take those for every GPU.</summary>
    public bool TakesHopper(in AttentionProblem problem) =>
        target.Architecture == 90 && target.HasTensorMaps && !tuning.AvoidHopper && !IsExact(problem) && !problem.HasSinks && problem.Dropout == 0 && ScoreText.Of(problem.Score) is null;

    private bool UsesHopper(in AttentionProblem problem, bool isAligned, bool isMappable) => isAligned && isMappable && TakesHopper(problem);

    /// <summary>For kernels that look at no score.</summary>
    private static AttentionProblem Unscored(in AttentionProblem problem) => problem with { Causal = CausalMask.None, Score = null, Dropout = 0 };

    /// <summary>Every macro but K_DROPOUT and K_SINKS is always defined; those that a kernel does not look at have one value, so that it is compiled once.</summary>
    private KernelVariant Variant(string kernel, in AttentionProblem problem, bool isAligned, bool deterministic = false)
    {
        (string, int)[] macros =
        [
            ("K_TYPE", problem.ElementType switch { ElementType.Float16 => 0, ElementType.BFloat16 => 1, ElementType.Float32 => 2, _ => 3 }),
            ("K_HEAD_DIM", problem.HeadDim),
            ("K_VALUE_DIM", problem.ValueDim),
            ("K_CAUSAL", problem.Causal == CausalMask.None ? 0 : 1),
            ("K_NEGATE", problem.Scale < 0 ? 1 : 0),
            ("K_ALIGNED", isAligned ? 1 : 0),
            ("K_DETERMINISTIC", deterministic && !IsExact(problem) ? 1 : 0),
            ("K_SHARED_LIMIT", target.SharedLimit),
            .. problem.HasSinks && kernel is "forward_exact" or "forward_mma" ? [("K_SINKS", 1)] : Array.Empty<(string, int)>(),
            .. problem.Dropout > 0 ? [("K_DROPOUT", 1)] : Array.Empty<(string, int)>(),
            .. tuning.Macros.GetValueOrDefault(kernel, []),
        ];
        return KernelVariant.Create(kernel, target.Name, macros) with { Score = ScoreText.Of(problem.Score)?.Text };
    }
}

/// <summary>What tests and measurements change about the choice of kernels.</summary>
internal sealed record KernelTuning
{
    public static KernelTuning None { get; } = new();

    /// <summary>The kernels for every GPU since Ampere also where there are those for Hopper.</summary>
    public bool AvoidHopper { get; init; }

    /// <summary>Element-wise loads and stores also where all is aligned.</summary>
    public bool AvoidAligned { get; init; }

    /// <summary>Macros by kernel that are defined besides, or otherwise: K_BLOCK_M, K_BLOCK_N, K_STAGES, K_WARPS.</summary>
    public ImmutableDictionary<string, ImmutableList<(string Name, int Value)>> Macros { get; init; } = ImmutableDictionary<string, ImmutableList<(string Name, int Value)>>.Empty;

    /// <summary>The same with a macro for a kernel.</summary>
    public KernelTuning With(string kernel, string macro, int value) =>
        this with { Macros = Macros.SetItem(kernel, Macros.GetValueOrDefault(kernel, []).Add((macro, value))) };
}
