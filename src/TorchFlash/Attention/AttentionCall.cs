using TorchFlash.Arguments;
using TorchFlash.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>How an attention is computed.</summary>
internal enum AttentionRoute
{
    /// <summary>By one of this project's engines.</summary>
    Fused,

    /// <summary>In float32, and rounded back.</summary>
    Widened,

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
    /// <param name="mask">Bool, broadcasts to [B, H, Nq, Nk]: true = may attend.</param>
    /// <param name="bias">Added to the scores, broadcasts to [B, H, Nq, Nk].</param>
    /// <param name="dropout">Probability with which a weight is dropped.</param>
    public AttentionCall(
        Tensor query, Tensor key, Tensor value, CausalMask causal = CausalMask.None, double? scale = null, Tensor? mask = null, Tensor? bias = null, double dropout = 0)
    {
        (Query, Key, Value, Mask, Bias) = (query, key, value, mask, bias);
        long[] q = TensorMemory.Sizes(query), k = TensorMemory.Sizes(key);
        Problem = checked(new AttentionProblem
        {
            Batch = (int)q[0],
            Heads = (int)q[1],
            KeyHeads = (int)k[1],
            QueryLength = (int)q[2],
            KeyLength = (int)k[2],
            HeadDim = (int)q[3],
            ValueDim = (int)value.size(3),
            Scale = scale ?? AttentionProblem.DefaultScale((int)q[3]),
            ElementType = ElementTypeOf(query.dtype),
            Causal = causal,
            Dropout = dropout,
        });
        Problem.Validate();
    }

    /// <summary>What is to be computed.</summary>
    public AttentionProblem Problem { get; }

    /// <summary>Q.</summary>
    public Tensor Query { get; }

    /// <summary>K.</summary>
    public Tensor Key { get; }

    /// <summary>V.</summary>
    public Tensor Value { get; }

    /// <summary>True = may attend.</summary>
    public Tensor? Mask { get; }

    /// <summary>Added to the scores.</summary>
    public Tensor? Bias { get; }

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

    /// <summary>O, [B, H, Nq, d_v], and the weights averaged over heads, [B, Nq, Nk], null where they are not wanted.</summary>
    public (Tensor Output, Tensor? Weights) Attend(bool needWeights = false)
    {
        switch (Choose(needWeights, out IAttentionEngine? engine, out string? reason))
        {
            case AttentionRoute.Fused:
                return AttentionFunction.Attend(new EnginePass(engine!, Problem), Query, Key, Value, needWeights);
            case AttentionRoute.Widened:
                Settings.Announce("attention is computed in float32 and rounded back", reason!);
                AttentionCall wide = new(
                    Wide(Query), Wide(Key), Wide(Value), Problem.Causal, Problem.Scale, Mask, Bias is null ? null : Wide(Bias), Problem.Dropout);
                (Tensor output, Tensor? weights) = wide.Attend(needWeights);
                return (output.to(Query.dtype), weights?.to(Query.dtype));
            case AttentionRoute.LibTorch:
                if (Settings.Determinism is { Required: true, WarnOnly: false })
                    throw new NotSupportedException($"Only libtorch's own attention takes this call, because {reason}, and it need not be deterministic, "
                        + "which flash.use_deterministic_algorithms without warn_only asks for.");
                Settings.Announce("libtorch's own attention is used", reason!);
                return (LibTorchs(), null);
            default:
                Settings.Announce("attention is composed of libtorch's operators in O(Nq Nk) memory", reason!);
                (output, Tensor probabilities) = ComposedAttention.Attend(this);
                return (output, needWeights ? probabilities.mean([1L]) : null);
        }

        static Tensor Wide(Tensor x) => x.to(ScalarType.Float32);
    }

    /// <summary>The way this call goes, and why it is not that of an engine.</summary>
    public AttentionRoute Choose(bool needWeights, out IAttentionEngine? engine, out string? reason)
    {
        engine = Engines.Taking(Problem, Query.device_type, Query.device_index, out reason);
        if (engine is not null)
            return AttentionRoute.Fused;
        bool onCpu = Query.device_type == DeviceType.CPU;
        if (onCpu && Problem.ElementType is ElementType.Float16 or ElementType.BFloat16)
            return AttentionRoute.Widened; // Not every libtorch has these operators for them.
        // libtorch's attention takes one mask: Bool, added, or causal aligned top left; what it makes of no keys, and on the CPU of any
        // mask and dropout, depends on its version.
        bool oneMask = (Mask is null ? 0 : 1) + (Bias is null ? 0 : 1) + (Problem.Causal == CausalMask.None ? 0 : 1) <= 1;
        bool suits = !onCpu && !needWeights && oneMask && Problem.Causal != CausalMask.BottomRight && Problem.KeyLength > 0;
        return suits ? AttentionRoute.LibTorch : AttentionRoute.Composed;
    }

    private Tensor LibTorchs()
    {
        // It has no argument for the scale.
        double defaultScale = AttentionProblem.DefaultScale(Problem.HeadDim);
        Tensor query = Problem.Scale == defaultScale ? Query : Query * (Problem.Scale / defaultScale);
        return nn.functional.scaled_dot_product_attention(
            query, ComposedAttention.Repeated(Key, Query), ComposedAttention.Repeated(Value, Query), Mask ?? Bias, Problem.Dropout, Problem.Causal == CausalMask.TopLeft);
    }
}
