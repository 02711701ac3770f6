using TorchFlash.Arguments;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Scores;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>How an attention is computed.</summary>
internal enum AttentionRoute
{
    /// <summary>By one of this project's engines.</summary>
    Fused,

    /// <summary>By libtorch's own attention.</summary>
    LibTorch,

    /// <summary>By matmul, softmax, matmul of libtorch with the semantics of the fused passes.</summary>
    Composed,
}

/// <summary>One attention over checked and broadcast operands: the problem, which says everything, and the tensors.</summary>
internal sealed class AttentionCall
{
    /// <param name="query">Q, [B, H, Nq, d].</param>
    /// <param name="key">K, [B, key heads, Nk, d], where the number of key heads divides H.</param>
    /// <param name="value">V, [B, key heads, Nk, d_v].</param>
    /// <param name="causal">Which keys a query may attend to by position.</param>
    /// <param name="scale">Factor of Q Kᵀ; null: 1 / sqrt(d).</param>
    /// <param name="score">What is done to the scores, and which pairs exist.</param>
    /// <param name="sinks">The score of every head's sink, [H].</param>
    /// <param name="dropout">Probability with which a weight is dropped.</param>
    /// <param name="dropoutSeed">Which weights that happens to.</param>
    public AttentionCall(
        Tensor query, Tensor key, Tensor value, CausalMask causal = CausalMask.None, double? scale = null,
        ScoreProgram? score = null, Tensor? sinks = null, double dropout = 0, ulong dropoutSeed = 0)
    {
        if (score is { OnlyHides: true, Visible: { Op: Op.Constant, Value: not 0 } })
            score = null;
        long[] q = TensorMemory.Sizes(query);
        Problem = checked(new AttentionProblem
        {
            Batch = (int)q[0],
            Heads = (int)q[1],
            KeyHeads = (int)key.size(1),
            QueryLength = (int)q[2],
            KeyLength = (int)key.size(2),
            HeadDim = (int)q[3],
            ValueDim = (int)value.size(3),
            Scale = scale ?? AttentionProblem.DefaultScale((int)q[3]),
            ElementType = ElementTypeOf(query.dtype),
            Causal = causal,
            Score = score,
            HasSinks = sinks is not null,
            Dropout = dropout,
            DropoutSeed = dropoutSeed,
        });
        Problem.Validate();
        Operands = new(query, key, value, AttentionOperands.Bound(score, query), sinks?.to(AttentionOperands.Computed(query.dtype)).contiguous());
    }

    /// <summary>What is to be computed.</summary>
    public AttentionProblem Problem { get; }

    /// <summary>The tensors.</summary>
    public AttentionOperands Operands { get; }

    /// <summary>The engines' word for a type of elements.</summary>
    /// <exception cref="ArgumentException">It is none that a softmax can be computed in.</exception>
    public static ElementType ElementTypeOf(ScalarType dtype) => dtype switch
    {
        ScalarType.Float32 => ElementType.Float32,
        ScalarType.Float64 => ElementType.Float64,
        ScalarType.BFloat16 => ElementType.BFloat16,
        ScalarType.Float16 => ElementType.Float16,
        _ => throw ArgumentChecks.Refusal(nameof(dtype), "takes Float32, Float64, Float16 or BFloat16", dtype),
    };

    /// <summary>What is wanted, by the way that <see cref="Choose"/> says.</summary>
    public AttentionResults Attend(WantedResults? wanted = null)
    {
        wanted ??= new();
        switch (Choose(wanted, out IAttentionEngine? engine, out string? reason))
        {
            case AttentionRoute.Fused:
                if (Operands.Query.device_type != DeviceType.CPU) // There the engine does it.
                    CheckProgram();
                return AttentionFunction.Attend(new EnginePass(engine!, Problem), Operands, wanted);
            case AttentionRoute.LibTorch:
                if (Settings.Determinism is { Required: true, WarnOnly: false })
                    throw new NotSupportedException($"Only libtorch's own attention takes this call, because {reason}, and it need not be deterministic, "
                        + "which flash.use_deterministic_algorithms without warn_only asks for.");
                CheckProgram();
                Settings.Announce("libtorch's own attention is used", reason!);
                return new(LibTorchs(), null, null);
            default:
                CheckProgram();
                Settings.Announce("attention is composed of libtorch's operators in O(Nq Nk) memory", reason!);
                ComposedAttention composed = new(Problem, Operands);
                return new(
                    composed.Output,
                    !wanted.Weights ? null : wanted.PerHead ? composed.Weights : composed.Weights.mean([1L]),
                    wanted.LogSumExp ? composed.LogSumExp : null);
        }
    }

    /// <summary>The problem with what an engine will be asked for besides its output.</summary>
    public AttentionProblem Asked(WantedResults wanted)
    {
        return Problem with
        {
            HasScoreGradients = is_grad_enabled() && Array.Exists(Operands.Captured, tensor => tensor.requires_grad),
            HasHeadWeights = wanted is { Weights: true, PerHead: true },
        };
    }

    /// <summary>The way this call goes, and why it is not that of an engine.</summary>
    public AttentionRoute Choose(WantedResults wanted, out IAttentionEngine? engine, out string? reason)
    {
        Tensor query = Operands.Query;
        engine = Engines.Taking(Asked(wanted), query.device_type, query.device_index, out reason);
        if (engine is not null)
            return AttentionRoute.Fused;
        bool onCpu = query.device_type == DeviceType.CPU;
        // libtorch's attention takes one mask: Bool, added, or causal aligned top left; what it makes of no keys, and on the CPU of any
        // mask and dropout, depends on its version.
        bool oneMask = Problem.Score is null ? Problem.Causal != CausalMask.BottomRight : Problem.Causal == CausalMask.None && Problem.Score.IsAdditive;
        bool suits = !onCpu && wanted is { Weights: false, LogSumExp: false } && oneMask && !Problem.HasSinks && Problem.KeyLength > 0;
        return suits ? AttentionRoute.LibTorch : AttentionRoute.Composed;
    }

    /// <summary>What libtorch's own attention takes for a program of conditions and additions, in its own broadcast shape; null where there is none.</summary>
    public Tensor? AsMask()
    {
        if (Problem.Score is not { } score)
            return null;
        (ScalarType type, Device device) = (Operands.Query.dtype, Operands.Query.device);
        ScoreEvaluation program = new(score, Operands.Captured, [Problem.Batch, Problem.Heads, Problem.QueryLength, Problem.KeyLength], 0, type, device);
        Tensor? hidden = program.Hidden();
        if (score.OnlyHides)
            return hidden!.logical_not();
        Tensor added = program.Output(zeros([1, 1, 1, 1], type, device));
        return hidden is null ? added : where(hidden, tensor(double.NegativeInfinity, type, device), added);
    }

    /// <summary>
    /// What the CPU engine refuses before it reads anything, for devices whose memory an analysis cannot read: it needs no tensors but the
    /// integers, which are copied. (To libtorch a negative index would count from the end.)
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">An index may leave its tensor, an integer int, a divisor may be 0.</exception>
    public void CheckProgram()
    {
        if (Problem.Score is not { } score)
            return;
        // The conditions as a part of the score: nobody will ask which pairs exist.
        ScoreProgram all = ScoreProgram.Build(graph => graph.Apply(Op.Select, graph.Import(score.Visible), graph.Import(score.Output), graph.Real(0)), _ => null);
        Tensor?[] integers = [.. all.Tensors.Select(tensor => tensor.Kind == ScoreKind.Int ? Operands.Captured[score.Tensors.Index().First(x => x.Item == tensor).Index].cpu() : null)];
        _ = new TileAnalysis(all, Problem, Array.ConvertAll(integers, tensor => tensor is null ? default : TensorMemory.CapturedView(tensor)));
        GC.KeepAlive(integers);
    }

    private Tensor LibTorchs()
    {
        (Tensor query, Tensor key) = (Operands.Query, Operands.Key);
        // It has no argument for the scale.
        double defaultScale = AttentionProblem.DefaultScale(Problem.HeadDim);
        Tensor scaled = Problem.Scale == defaultScale ? query : query * (Problem.Scale / defaultScale);
        return nn.functional.scaled_dot_product_attention(
            scaled, ComposedAttention.Repeated(key, query), ComposedAttention.Repeated(Operands.Value, query), AsMask(), Problem.Dropout, Problem.Causal == CausalMask.TopLeft);
    }
}
