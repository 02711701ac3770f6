using TorchFlash.Kernels;
using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>
/// Attention out of libtorch's operators, with the semantics of the fused passes, for what no engine takes and for gradients that are
/// differentiated themselves. Exact, differentiable by libtorch, and O(Nq Nk) in memory.
/// </summary>
internal static class ComposedAttention
{
    /// <summary>O, [B, H, Nq, d_v], and P after dropout, [B, H, Nq, Nk].</summary>
    public static (Tensor Output, Tensor Weights) Attend(AttentionCall call)
    {
        Tensor p = Probabilities(call.Problem, call.Query, Repeated(call.Key, call.Query), call.Mask, call.Bias);
        if (call.Problem.Dropout > 0)
            p = nn.functional.dropout(p, call.Problem.Dropout, training: true);
        return (matmul(p, Repeated(call.Value, call.Query)), p);
    }

    /// <summary>
    /// dQ, dK, dV from dO and from dW, the gradient of 1/H sum over heads of P, where they are given; graph nodes themselves where grad
    /// mode is on. Of 16-bit types all but the result is in float32. Not for masks and dropout.
    /// </summary>
    public static Tensor?[] Gradients(in AttentionProblem problem, Tensor query, Tensor key, Tensor value, Tensor? outputGradient, Tensor? weightsGradient)
    {
        ScalarType type = query.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        Tensor q = query.to(type), k = Repeated(key.to(type), query), v = Repeated(value.to(type), query);
        Tensor? dO = outputGradient?.to(type), dW = weightsGradient?.to(type);
        Tensor p = Probabilities(problem, q, k);
        // dV = Pᵀ dO
        Tensor? dV = dO is null ? null : matmul(p.transpose(2, 3), dO);
        // dP = dO Vᵀ + dW / H
        Tensor? dP = dO is null ? null : matmul(dO, v.transpose(2, 3));
        if (dW is not null)
            dP = dP is null ? (dW / problem.Heads).unsqueeze(1) : dP + (dW / problem.Heads).unsqueeze(1);
        // dS = P o (dP - rowsum(P o dP))
        Tensor dS = p * dP!;
        dS = (dS - p * dS.sum(-1L, keepdim: true)) * problem.Scale;
        // dQ = scale dS K, dK = scale dSᵀ Q
        Tensor dQ = matmul(dS, k), dK = matmul(dS.transpose(2, 3), q);
        return [dQ.to(query.dtype), SumOfGroups(dK, key).to(query.dtype), dV is null ? null : SumOfGroups(dV, value).to(query.dtype)];
    }

    /// <summary>Every head of key or value for each head of query that it serves.</summary>
    public static Tensor Repeated(Tensor x, Tensor query)
    {
        long[] shape = TensorMemory.Sizes(x);
        long heads = query.size(1);
        return heads == shape[1] ? x : x.unsqueeze(2).expand(shape[0], shape[1], heads / shape[1], shape[2], shape[3]).reshape(shape[0], heads, shape[2], shape[3]);
    }

    /// <summary>The gradient of what <see cref="Repeated"/> was given.</summary>
    private static Tensor SumOfGroups(Tensor gradient, Tensor x)
    {
        long[] shape = TensorMemory.Sizes(x), repeated = TensorMemory.Sizes(gradient);
        return repeated[1] == shape[1] ? gradient : gradient.reshape(shape[0], shape[1], repeated[1] / shape[1], shape[2], shape[3]).sum(2L);
    }

    /// <summary>P = softmax(scale Q Kᵀ + bias) over the keys that may be attended to; 0 in a row where nothing may, without gradient.</summary>
    private static Tensor Probabilities(in AttentionProblem problem, Tensor q, Tensor k, Tensor? mask = null, Tensor? bias = null)
    {
        Tensor s = matmul(q * problem.Scale, k.transpose(2, 3));
        if (bias is not null)
            s = s + bias;
        if (mask is not null)
            s = s.masked_fill(mask.logical_not(), double.NegativeInfinity);
        if (problem.Causal != CausalMask.None)
        {
            long offset = problem.Causal == CausalMask.BottomRight ? problem.KeyLength - problem.QueryLength : 0;
            s = s.masked_fill(CausalMatrix(problem.QueryLength, problem.KeyLength, offset, q.device).logical_not(), double.NegativeInfinity);
        }
        if (problem.KeyLength == 0)
            return s;
        Tensor nothing = s.detach().amax([-1L], keepdim: true).eq(double.NegativeInfinity);
        return s.masked_fill(nothing, 0).softmax(-1).masked_fill(nothing, 0);
    }

    /// <summary>[Nq, Nk], true where j &lt;= i + offset.</summary>
    public static Tensor CausalMatrix(long queryLength, long keyLength, long offset, Device device) =>
        ones([queryLength, keyLength], dtype: ScalarType.Bool, device: device).tril(offset);
}
