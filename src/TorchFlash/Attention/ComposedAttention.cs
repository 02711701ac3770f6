using TorchFlash.Kernels;
using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>
/// Attention out of libtorch's operators, for what the engines do not take yet: masks, dropout, half precision with either.
/// Exact, differentiable by libtorch, and O(Nq Nk) in memory.
/// </summary>
internal static class ComposedAttention
{
    /// <summary>O, [B, H, Nq, d_v], and the weights P after dropout, [B, H, Nq, Nk].</summary>
    public static (Tensor Output, Tensor Weights) Attend(AttentionCall call)
    {
        // S = scale Q Kᵀ + bias
        Tensor scores = matmul(call.Query * call.Scale, call.Key.transpose(-2, -1));
        if (call.Bias is not null)
            scores = scores + call.Bias;
        Tensor? allowed = Allowed(call);
        if (allowed is not null)
            scores = scores.masked_fill(allowed.logical_not(), double.NegativeInfinity);

        Tensor weights = (allowed is not null || call.Bias is not null) && call.KeyLength > 0
            ? SoftmaxOrZero(scores)
            : scores.softmax(-1);
        if (call.Dropout > 0)
            weights = nn.functional.dropout(weights, call.Dropout, training: true);
        return (matmul(weights, call.Value), weights);
    }

    /// <summary>
    /// Softmax over keys; a row with nothing to attend to (all -inf) gives 0, and its scores are cut off from the gradient.
    /// </summary>
    private static Tensor SoftmaxOrZero(Tensor scores)
    {
        Tensor empty = scores.detach().amax([-1L], keepdim: true).eq(double.NegativeInfinity);
        return scores.masked_fill(empty, 0).softmax(-1).masked_fill(empty, 0);
    }

    /// <summary>The bool mask and the causal mask in one; null = everything.</summary>
    private static Tensor? Allowed(AttentionCall call)
    {
        if (call.Causal == CausalMask.None)
            return call.Allowed;
        long offset = call.Causal == CausalMask.BottomRight ? call.KeyLength - call.QueryLength : 0;
        Tensor causal = CausalMatrix(call.QueryLength, call.KeyLength, offset, call.Query.device);
        return call.Allowed is null ? causal : call.Allowed.logical_and(causal);
    }

    /// <summary>[Nq, Nk], true where j &lt;= i + offset.</summary>
    public static Tensor CausalMatrix(long queryLength, long keyLength, long offset, Device device) =>
        ones([queryLength, keyLength], dtype: ScalarType.Bool, device: device).tril(offset);
}
