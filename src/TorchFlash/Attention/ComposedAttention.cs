using TorchFlash.Kernels;
using TorchFlash.Kernels.Scores;
using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>
/// Attention out of libtorch's operators, with the semantics of the fused passes, for what no engine takes and for gradients that are
/// differentiated themselves. Exact, differentiable by libtorch, and O(Nq Nk) in memory. Of 16-bit types all but the results is in float32.
/// </summary>
internal sealed class ComposedAttention
{
    private readonly AttentionProblem _problem;
    private readonly AttentionOperands _operands;
    private readonly Tensor _query, _key, _value;
    private readonly ScoreEvaluation? _program;
    private readonly Tensor? _hidden; // True where a pair does not exist.
    private readonly Tensor _modified; // The scores that go into the softmax, [B, heads, Nq, Nk], the sink's beside them.
    private readonly Tensor? _nothing; // [B, heads, Nq, 1]: rows that attend to nothing; null where there are no columns.
    private readonly Tensor? _kept; // What elements of P are multiplied by: 0 or 1 / (1 - p).
    private readonly Tensor _all; // P, the sink's beside it.

    /// <param name="problem">The problem.</param>
    /// <param name="operands">Its tensors; of queries, keys and values perhaps some heads only.</param>
    /// <param name="firstHead">The first of those heads.</param>
    public ComposedAttention(in AttentionProblem problem, AttentionOperands operands, long firstHead = 0)
    {
        (_problem, _operands) = (problem, operands);
        ScalarType type = AttentionOperands.Computed(operands.Query.dtype);
        Device device = operands.Query.device;
        _query = operands.Query.to(type);
        _key = Repeated(operands.Key.to(type), operands.Query);
        _value = Repeated(operands.Value.to(type), operands.Query);
        // S = scale Q Kᵀ
        Tensor s = matmul(_query * problem.Scale, _key.transpose(2, 3));
        long[] shape = TensorMemory.Sizes(s);
        if (problem.Score is { } score)
        {
            _program = new ScoreEvaluation(score, operands.Captured, shape, firstHead, type, device);
            s = _program.Output(s).expand(shape);
            _hidden = _program.Hidden();
        }
        if (problem.Causal != CausalMask.None)
        {
            long offset = problem.Causal == CausalMask.BottomRight ? problem.KeyLength - problem.QueryLength : 0;
            Tensor later = ones([problem.QueryLength, problem.KeyLength], ScalarType.Bool, device).triu(offset + 1);
            _hidden = _hidden is null ? later : _hidden.logical_or(later);
        }
        if (_hidden is not null)
            s = s.masked_fill(_hidden, double.NegativeInfinity);
        if (operands.Sinks is { } sinks)
            s = cat([s, sinks.view(1, -1, 1, 1).expand(shape[0], shape[1], shape[2], 1)], -1);
        _modified = s;
        if (s.size(3) > 0)
            _nothing = s.detach().amax([-1L], keepdim: true).eq(double.NegativeInfinity);
        // P = softmax(S), 0 without gradient where there is nothing to attend to.
        _all = _nothing is null ? s : s.masked_fill(_nothing, 0).softmax(-1).masked_fill(_nothing, 0);
        if (problem.Dropout > 0)
        {
            _kept = DropoutMask(problem.DropoutSeed, problem.Dropout, shape, firstHead, device).to(type)
                * (problem.Dropout < 1 ? 1 / (1 - problem.Dropout) : 0);
        }
    }

    /// <summary>O, [B, heads, Nq, d_v].</summary>
    public Tensor Output => matmul(Kept(Probabilities), _value).to(_operands.Query.dtype);

    /// <summary>P after dropout, [B, heads, Nq, Nk].</summary>
    public Tensor Weights => Kept(Probabilities).to(_operands.Query.dtype);

    /// <summary>The rows' log-sum-exp, [B, heads, Nq], -inf where there is nothing to attend to.</summary>
    public Tensor LogSumExp => _nothing is null
        ? zeros(TensorMemory.Sizes(_modified)[..3], _modified.dtype, _modified.device).fill_(double.NegativeInfinity)
        : _modified.masked_fill(_nothing, 0).logsumexp(-1).masked_fill(_nothing.squeeze(-1), double.NegativeInfinity);

    /// <summary>
    /// The gradients of <see cref="AttentionOperands.ToArray"/> from dO, from dW, the gradient of P after dropout or of 1/H times its sum
    /// over heads, and from that of the log-sum-exp, where they are given; graph nodes themselves where grad mode is on. Null for what no
    /// gradient reaches.
    /// </summary>
    public Tensor?[] Gradients(Tensor? outputGradient, Tensor? weightsGradient, Tensor? logSumExpGradient)
    {
        ScalarType type = _query.dtype;
        Tensor p = Probabilities;
        Tensor? dO = outputGradient?.to(type), dV = null, dP = null;
        if (dO is not null)
        {
            // dV = (Z o P)ᵀ dO, dP = Z o (dO Vᵀ + dW / H)
            dV = matmul(Kept(p).transpose(2, 3), dO);
            dP = matmul(dO, _value.transpose(2, 3));
        }
        if (weightsGradient?.to(type) is { } dW)
        {
            dW = dW.dim() == 4 ? dW : (dW / _problem.Heads).unsqueeze(1);
            dP = dP is null ? dW : dP + dW;
        }
        // dS = P o (dP - rowsum(P o dP) + dLSE); for the sink, whose value is 0, without dP
        Tensor? row = logSumExpGradient?.to(type).unsqueeze(-1);
        Tensor? weighted = dP is null ? null : p * Kept(dP);
        if (weighted is not null)
            row = row is null ? -weighted.sum(-1L, keepdim: true) : row - weighted.sum(-1L, keepdim: true);
        Tensor dS = weighted is null ? p * row! : weighted + p * row!;
        Tensor? dSinks = _operands.Sinks is null ? null : (_all.narrow(3, _problem.KeyLength, 1) * row!).sum([0L, 2, 3]);
        (dS, Tensor?[] captured) = _program?.Gradients(dS, _hidden) ?? (dS, []);
        // dQ = scale dS K, dK = scale dSᵀ Q
        dS = dS * _problem.Scale;
        Tensor dQ = matmul(dS, _key), dK = SumOfGroups(matmul(dS.transpose(2, 3), _query), _operands.Key);
        dV = dV is null ? null : SumOfGroups(dV, _operands.Value);
        Tensor?[] gradients = _operands.Sinks is null ? [dQ, dK, dV, .. captured] : [dQ, dK, dV, .. captured, dSinks];
        return [.. gradients.Zip(_operands.ToArray(), (gradient, operand) => gradient?.to(operand.dtype))];
    }

    /// <summary>Every head of key or value for each head of query that it serves.</summary>
    public static Tensor Repeated(Tensor x, Tensor query)
    {
        long[] shape = TensorMemory.Sizes(x);
        long heads = query.size(1);
        return heads == shape[1] ? x : x.unsqueeze(2).expand(shape[0], shape[1], heads / shape[1], shape[2], shape[3]).reshape(shape[0], heads, shape[2], shape[3]);
    }

    /// <summary>Bool [B, heads, Nq, Nk]: which weights are kept.</summary>
    public static Tensor DropoutMask(ulong seed, double p, long[] shape, long firstHead, Device device)
    {
        (int heads, int queries, int keys) = ((int)shape[1], (int)shape[2], (int)shape[3]);
        bool[] kept = new bool[checked(shape[0] * heads * queries * keys)];
        Parallel.For(0, shape[0] * heads * queries, row =>
        {
            (int entry, int query) = ((int)(row / queries), (int)(row % queries));
            for (int key = 0; key < keys; key++)
                kept[row * keys + key] = Dropout.Keeps(seed, p, entry / heads, entry % heads + (int)firstHead, query, key);
        });
        return tensor(kept, shape, device: device);
    }

    private Tensor Probabilities => _operands.Sinks is null ? _all : _all.narrow(3, 0, _problem.KeyLength);

    private Tensor Kept(Tensor p) => _kept is null ? p : p * _kept;

    /// <summary>The gradient of what <see cref="Repeated"/> was given.</summary>
    private static Tensor SumOfGroups(Tensor gradient, Tensor x)
    {
        long[] shape = TensorMemory.Sizes(x), repeated = TensorMemory.Sizes(gradient);
        return repeated[1] == shape[1] ? gradient : gradient.reshape(shape[0], shape[1], repeated[1] / shape[1], shape[2], shape[3]).sum(2L);
    }
}
