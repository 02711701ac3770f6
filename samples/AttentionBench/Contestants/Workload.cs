using AttentionBench.Measuring;
using TorchFlash;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Scores;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionBench.Contestants;

/// <summary>
/// A case as a contestant computes it. The same case gives every contestant the same inputs and weights. Tensors belong to the caller's dispose scope.
/// </summary>
internal sealed class Workload
{
    private readonly Func<Tensor> _forward;
    private readonly Tensor[] _leaves;
    private readonly Tensor _outputGradient;

    public Workload(Contestant contestant, AttentionCase c)
    {
        manual_seed(1);
        Contestant = contestant;
        Case = c;
        if (contestant.IsModule)
            (_forward, _leaves, _outputGradient) = OfModule(contestant, c);
        else
            (_forward, _leaves, _outputGradient) = OfFunction(contestant, c);
    }

    public Contestant Contestant { get; }

    public AttentionCase Case { get; }

    /// <summary>max|O - O'| / max|O| of two workloads of the same case; 0 where dropout makes every one of them another.</summary>
    public double Difference(Workload other)
    {
        if (Case.Dropout > 0)
            return 0;
        using var scope = NewDisposeScope();
        using IDisposable inference = no_grad();
        Tensor output = _forward().to(ScalarType.Float64);
        return (output - other._forward().to(ScalarType.Float64)).abs().max().item<double>() / output.abs().max().item<double>();
    }

    /// <summary>Outputs that differ by more, relative to the largest element, are not the same computation.</summary>
    public static double Agreement(ElementType type) => type switch
    {
        ElementType.Float64 => 1e-10,
        ElementType.Float32 => 1e-3,
        ElementType.Float16 => 1e-2,
        _ => 5e-2,
    };

    /// <summary>Seconds of one pass. Every turn of a contestant ends with its tensors freed; that is timed, too, as it is with every caller.</summary>
    public double Run(Pass pass) => pass switch
    {
        Pass.Forward => Measure.Seconds(Forward),
        Pass.Both => Measure.Seconds(ForwardBackward),
        _ => Backward(),
    };

    /// <summary>The forward pass alone, nothing kept for a backward pass.</summary>
    public void Forward()
    {
        using var scope = NewDisposeScope();
        using (no_grad())
            _forward();
    }

    /// <summary>The forward pass with all that is kept for a backward pass, which does not follow.</summary>
    public void ForwardForBackward()
    {
        using var scope = NewDisposeScope();
        _forward();
    }

    /// <summary>Forward pass and the gradients of all inputs and parameters.</summary>
    public void ForwardBackward()
    {
        using var scope = NewDisposeScope();
        autograd.grad([_forward()], _leaves, [_outputGradient]);
    }

    private double Backward()
    {
        using var scope = NewDisposeScope();
        Tensor output = _forward();
        return Measure.Seconds(() => autograd.grad([output], _leaves, [_outputGradient]));
    }

    private static (Func<Tensor> Forward, Tensor[] Leaves, Tensor OutputGradient) OfFunction(Contestant contestant, AttentionCase c)
    {
        Tensor q = Leaf(c.Heads, c.Queries, c.Dim), k = Leaf(c.KeyHeads, c.Keys, c.Dim), v = Leaf(c.KeyHeads, c.Keys, c.ValueDim);
        Tensor gradient = randn([c.Batch, c.Heads, c.Queries, c.ValueDim]).to(c.ScalarType);
        Tensor? bias = c.Bias == BiasKind.None ? null : randn([c.Queries, c.Keys]).to(c.ScalarType);
        bias?.requires_grad_(c.Bias == BiasKind.Gradient);
        Tensor? kept = KeptByMask(c);
        bool grouped = c.KeyHeads != c.Heads;
        Tensor[] leaves = bias is { requires_grad: true } ? [q, k, v, bias] : [q, k, v];
        return (contestant.Name switch
        {
            Contestant.Flash => OfFlash(),
            Contestant.Sdpa => OfSdpa(),
            _ => OfNaive(),
        }, leaves, gradient);

        Tensor Leaf(int heads, int n, int dim) => randn([c.Batch, heads, n, dim]).to(c.ScalarType).requires_grad_(true);

        Func<Tensor> OfFlash()
        {
            if (c.Window == 0 && (kept is null || bias is null))
                return () => flash.nn.functional.scaled_dot_product_attention(q, k, v, kept ?? bias, c.Dropout, c.Causal, enable_gqa: grouped);
            ScoreProgram program = flash.score();
            if (bias is not null)
                program = program.bias(bias);
            if (c.Window > 0)
                program = program.window(c.Window - 1, 0);
            if (kept is not null)
                program = program.mask(kept);
            return () => flash.nn.functional.attention(q, k, v, program, c.Dropout, c.Causal, enable_gqa: grouped);
        }

        Func<Tensor> OfSdpa()
        {
            bool byFlag = c.Causal && c.Window == 0 && kept is null && bias is null;
            Tensor? all = byFlag ? null : Kept(c, kept), hidden = bias is null ? null : all?.logical_not();
            return () => nn.functional.scaled_dot_product_attention(
                q, Repeated(k), Repeated(v), bias is null ? all : hidden is null ? bias : bias.masked_fill(hidden, double.NegativeInfinity), c.Dropout, byFlag);
        }

        Func<Tensor> OfNaive()
        {
            Tensor? hidden = Kept(c, kept)?.logical_not();
            return () =>
            {
                Tensor scores = q.mul(1 / Math.Sqrt(c.Dim)).matmul(Repeated(k).transpose(-2, -1));
                if (bias is not null)
                    scores = scores + bias;
                if (hidden is not null)
                    scores = scores.masked_fill_(hidden, double.NegativeInfinity);
                Tensor weights = scores.softmax(-1);
                return (c.Dropout > 0 ? nn.functional.dropout(weights, c.Dropout, training: true) : weights).matmul(Repeated(v));
            };
        }

        // What a caller without an option for grouped heads has to do.
        Tensor Repeated(Tensor t) => grouped ? t.repeat_interleave(c.Heads / c.KeyHeads, 1) : t;
    }

    private static (Func<Tensor> Forward, Tensor[] Leaves, Tensor OutputGradient) OfModule(Contestant contestant, AttentionCase c)
    {
        int width = c.Heads * c.Dim;
        bool isSelf = c.Queries == c.Keys;
        Tensor x = randn([c.Queries, c.Batch, width]).to(c.ScalarType).requires_grad_(true);
        Tensor y = isSelf ? x : randn([c.Keys, c.Batch, width]).to(c.ScalarType).requires_grad_(true);
        Tensor gradient = randn([c.Queries, c.Batch, width]).to(c.ScalarType);
        Tensor? bias = c.Bias == BiasKind.None ? null : randn([c.Queries, c.Keys]).to(c.ScalarType);
        Tensor? kept = KeptByMask(c), padding = c.Mask == MaskKind.Padding ? kept!.view(c.Batch, c.Keys).logical_not() : null;
        Tensor? pairs = c.Mask == MaskKind.Full ? kept : null;
        Tensor[] inputs = isSelf ? [x] : [x, y];
        if (contestant.Name == Contestant.FlashModule)
        {
            TorchFlash.Modules.MultiheadAttention module = flash.nn.MultiheadAttention(width, c.Heads, c.Dropout, is_causal: c.Causal);
            module.to(c.ScalarType);
            Tensor? mask = bias is not null ? (pairs is null ? bias : bias.masked_fill(pairs.logical_not(), double.NegativeInfinity)) : pairs?.logical_not();
            return (() => module.call(x, y, y, padding, need_weights: false, mask).Item1, [.. inputs, .. module.parameters()], gradient);
        }
        else
        {
            TorchSharp.Modules.MultiheadAttention module = nn.MultiheadAttention(width, c.Heads, c.Dropout);
            module.to(c.ScalarType);
            Tensor? all = Kept(c, pairs);
            Tensor? mask = all is null ? bias : (bias ?? zeros([c.Queries, c.Keys], c.ScalarType)).masked_fill(all.logical_not(), double.NegativeInfinity);
            return (() => module.call(x, y, y, padding, false, mask).Item1, [.. inputs, .. module.parameters()], gradient);
        }
    }

    /// <summary>True where the mask of the case lets a query attend; the first key is always there, so that every row has one.</summary>
    private static Tensor? KeptByMask(AttentionCase c)
    {
        switch (c.Mask)
        {
            case MaskKind.Padding:
                return (arange(c.Keys) < Math.Max(1, 3 * c.Keys / 4)).view(1, 1, 1, c.Keys).expand(c.Batch, 1, 1, c.Keys).contiguous();
            case MaskKind.Full:
                Tensor kept = rand([c.Queries, c.Keys]) < 0.5;
                Tensor rows = arange(c.Queries).view(c.Queries, 1), keys = arange(c.Keys).view(1, c.Keys);
                return kept | (keys == 0) | (keys == rows);
            default:
                return null;
        }
    }

    /// <summary>The mask together with causality and window, as those need it who take but one.</summary>
    private static Tensor? Kept(AttentionCase c, Tensor? mask)
    {
        if (!c.IsTriangular)
            return mask;
        Tensor triangle = ones([c.Queries, c.Keys], ScalarType.Bool).tril();
        if (c.Window > 0)
            triangle = triangle & ones([c.Queries, c.Keys], ScalarType.Bool).triu(1 - c.Window);
        return mask is null ? triangle : triangle & mask;
    }
}
