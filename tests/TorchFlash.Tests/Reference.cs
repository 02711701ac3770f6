using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>Attention as the formula has it, out of matmul and softmax; rows without keys are not special here.</summary>
internal static class Reference
{
    /// <summary>softmax(scale Q Kᵀ + bias) V with keys left out where <paramref name="allowed"/> is false.</summary>
    public static Tensor Attention(Tensor q, Tensor k, Tensor v, double? scale = null, Tensor? allowed = null, Tensor? bias = null) =>
        matmul(Weights(q, k, scale, allowed, bias), v);

    /// <summary>P.</summary>
    public static Tensor Weights(Tensor q, Tensor k, double? scale = null, Tensor? allowed = null, Tensor? bias = null)
    {
        Tensor s = matmul(q, k.transpose(-2, -1)) * (scale ?? 1 / Math.Sqrt(q.shape[^1]));
        if (bias is not null)
            s = s + bias;
        if (allowed is not null)
            s = s.masked_fill(allowed.logical_not(), double.NegativeInfinity);
        return s.softmax(-1);
    }

    /// <summary>[Nq, Nk], true where j &lt;= i + offset.</summary>
    public static Tensor Causal(long queries, long keys, long offset = 0) =>
        ones([queries, keys], dtype: ScalarType.Bool).tril(offset);
}
