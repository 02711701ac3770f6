using TorchFlash.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>Who computes an attention.</summary>
internal enum AttentionRoute
{
    /// <summary>One of this project's engines.</summary>
    Fused,

    /// <summary>Matmul, softmax, matmul of libtorch with the semantics of the fused path.</summary>
    Composed,

    /// <summary>libtorch's own attention.</summary>
    LibTorch,
}

/// <summary>One attention over [B, H, N, d] operands, checked and broadcast: where every route starts from.</summary>
internal sealed record AttentionCall
{
    /// <summary>Q, [B, H, Nq, d].</summary>
    public required Tensor Query { get; init; }

    /// <summary>K, [B, key heads, Nk, d], where the number of key heads divides H.</summary>
    public required Tensor Key { get; init; }

    /// <summary>V, [B, key heads, Nk, d_v].</summary>
    public required Tensor Value { get; init; }

    /// <summary>Bool, broadcasts to [B, H, Nq, Nk]: true = may attend.</summary>
    public Tensor? Allowed { get; init; }

    /// <summary>Added to the scores, broadcasts to [B, H, Nq, Nk].</summary>
    public Tensor? Bias { get; init; }

    /// <summary>Which keys a query may attend to by position.</summary>
    public CausalMask Causal { get; init; }

    /// <summary>Factor of Q Kᵀ.</summary>
    public required double Scale { get; init; }

    /// <summary>Probability with which a weight is dropped.</summary>
    public double Dropout { get; init; }

    /// <summary>Nq.</summary>
    public long QueryLength => Query.shape[2];

    /// <summary>Nk.</summary>
    public long KeyLength => Key.shape[2];

    /// <summary>Heads of query for each head of key and value.</summary>
    private long Group => Key.shape[1] == 0 ? 1 : Query.shape[1] / Key.shape[1];

    /// <summary>The engines' terms for this call; they know of no mask but the causal one.</summary>
    public AttentionProblem Problem => checked(new()
    {
        Batch = (int)Query.shape[0],
        Heads = (int)Query.shape[1],
        KeyHeads = (int)Key.shape[1],
        QueryLength = (int)QueryLength,
        KeyLength = (int)KeyLength,
        HeadDim = (int)Query.shape[3],
        ValueDim = (int)Value.shape[3],
        Scale = Scale,
        ElementType = ElementTypeOf(Query.dtype),
        Causal = Causal,
    });

    /// <summary>The engines' word for a type of elements.</summary>
    /// <exception cref="ArgumentException">It is none that a softmax can be computed in.</exception>
    public static ElementType ElementTypeOf(ScalarType dtype)
    {
        switch (dtype)
        {
            case ScalarType.Float32:
                return ElementType.Float32;
            case ScalarType.Float64:
                return ElementType.Float64;
            case ScalarType.BFloat16:
                return ElementType.BFloat16;
            case ScalarType.Float16:
                return ElementType.Float16;
            default:
                ArgumentChecks.Refuse(nameof(dtype), "takes Float32, Float64, Float16 or BFloat16", dtype);
                return default;
        }
    }

    /// <summary>The route for the output alone.</summary>
    public AttentionRoute Route => Choose(out _);

    /// <summary>O, [B, H, Nq, d_v].</summary>
    public Tensor Attend()
    {
        AttentionRoute route = Choose(out string? reason);
        if (route == AttentionRoute.Fused)
            return FusedAttention.Attend(this);
        if (Group > 1)
            return Ungrouped().Attend();
        if (route == AttentionRoute.Composed)
            return AttendComposed(reason).Output;
        FallBack.Announce("libtorch's own attention is used", reason!);
        return LibTorchAttention.Attend(this);
    }

    /// <summary>O, [B, H, Nq, d_v], and the weights averaged over heads, [B, Nq, Nk].</summary>
    public (Tensor Output, Tensor Weights) AttendWithWeights()
    {
        if (Group > 1)
            return Ungrouped().AttendWithWeights();
        if (Choose(out string? reason) == AttentionRoute.Fused)
            return FusedAttention.AttendWithWeights(this);
        (Tensor output, Tensor weights) = AttendComposed(reason);
        return (output, weights.mean([1L]));
    }

    /// <summary>
    /// The route for the output alone, and why it is not an engine's; null where <see cref="flash.describe"/> has said so for good: the
    /// CPU engine's masks and dropout are composed.
    /// </summary>
    private AttentionRoute Choose(out string? reason)
    {
        bool masked = Allowed is not null || Bias is not null;
        IAttentionEngine? engine = Engines.For(Query, out reason);
        if (engine is not null)
        {
            reason = engine.Refusal(Problem);
            if (reason is null && !masked && Dropout == 0)
                return AttentionRoute.Fused;
            if (reason is null && engine is Kernels.Cpu.CpuEngine)
                return AttentionRoute.Composed;
            reason ??= masked ? $"the {engine.Name} engine takes no mask but the causal one yet" : $"the {engine.Name} engine takes no dropout yet";
        }
        // libtorch takes one mask: Bool, added, or causal aligned top left; what it makes of no keys depends on its version.
        bool oneMask = Causal switch
        {
            CausalMask.None => Allowed is null || Bias is null,
            CausalMask.TopLeft => !masked,
            _ => false,
        };
        bool plain = !masked && Dropout == 0;
        return oneMask && (plain || Query.device_type != DeviceType.CPU) && KeyLength > 0 ? AttentionRoute.LibTorch : AttentionRoute.Composed;
    }

    private (Tensor Output, Tensor Weights) AttendComposed(string? reason)
    {
        if (reason is not null)
            FallBack.Announce("composed of libtorch operators, O(Nq Nk) memory", $"libtorch's own attention does not fit either and {reason}");
        return ComposedAttention.Attend(this);
    }

    /// <summary>The same with every head of key and value repeated for its group; autograd sums over the repetitions.</summary>
    private AttentionCall Ungrouped()
    {
        return this with { Key = Repeated(Key), Value = Repeated(Value) };

        Tensor Repeated(Tensor x)
        {
            long[] shape = x.shape;
            return x.unsqueeze(2).expand(shape[0], shape[1], Group, shape[2], shape[3]).reshape(shape[0], shape[1] * Group, shape[2], shape[3]);
        }
    }
}
