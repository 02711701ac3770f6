using TorchFlash;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionBench.Contestants;

/// <summary>What is compared: one way to compute attention.</summary>
/// <param name="Name">As in the tables.</param>
/// <param name="IsModule">With its projections, against other modules; otherwise softmax(Q Kᵀ) V alone.</param>
/// <param name="StoresScores">Whether it holds matrices of N x N.</param>
internal sealed record Contestant(string Name, bool IsModule, bool StoresScores)
{
    public static IReadOnlyList<Contestant> All { get; } =
    [
        new("flash", false, false),
        new("sdpa", false, !HasFusedAttention),
        new("naive", false, true),
        new("flash.nn.MultiheadAttention", true, false),
        new("torch.nn.MultiheadAttention", true, true),
    ];

    /// <summary>libtorch 2.2 brought the fused attention kernel for processors.</summary>
    public static bool HasFusedAttention => System.Version.Parse(__version__.Split('+', '-', 'a', 'r')[0]) >= new System.Version(2, 2);

    /// <summary>
    /// Bytes that forward and backward together need at least: P and dP, the product they come from and its gradient.
    /// </summary>
    public long ScoreBytes(int heads, int n) => StoresScores ? 4L * sizeof(float) * heads * n * n : 0;
}

/// <summary>Self-attention of one batch entry, by a contestant; its tensors belong to the caller's dispose scope.</summary>
internal sealed class Workload
{
    private readonly Func<Tensor> _forward;
    private readonly Tensor[] _leaves;
    private readonly Tensor _outputGradient;

    public Workload(Contestant contestant, int heads, int n, int dim, bool causal)
    {
        manual_seed(1);
        if (contestant.IsModule)
        {
            int width = heads * dim;
            Tensor x = randn([n, 1, width], requires_grad: true);
            _outputGradient = randn([n, 1, width]);
            if (contestant.StoresScores)
            {
                TorchSharp.Modules.MultiheadAttention module = nn.MultiheadAttention(width, heads);
                Tensor? mask = causal ? full([n, n], float.NegativeInfinity).triu(1) : null;
                _forward = () => module.call(x, x, x, null, false, mask).Item1;
                _leaves = [x, .. module.parameters()];
            }
            else
            {
                TorchFlash.Modules.MultiheadAttention module = flash.nn.MultiheadAttention(width, heads, is_causal: causal);
                _forward = () => module.call(x, x, x, need_weights: false).Item1;
                _leaves = [x, .. module.parameters()];
            }
        }
        else
        {
            Tensor q = Input(true), k = Input(true), v = Input(true);
            _outputGradient = Input(false);
            _leaves = [q, k, v];
            Tensor? masked = contestant.Name == "naive" && causal ? ones([n, n], ScalarType.Bool).triu(1) : null;
            _forward = contestant.Name switch
            {
                "flash" => () => flash.nn.functional.scaled_dot_product_attention(q, k, v, is_causal: causal),
                "sdpa" => () => nn.functional.scaled_dot_product_attention(q, k, v, is_casual: causal),
                _ => () => Naive(q, k, v, masked),
            };
        }

        Tensor Input(bool gradient) => randn([1, heads, n, dim], requires_grad: gradient);
    }

    /// <summary>max|O - O'| / max|O| of two workloads of the same size; the same seed gives them the same inputs and weights.</summary>
    public double Difference(Workload other)
    {
        using var scope = NewDisposeScope();
        using IDisposable inference = no_grad();
        Tensor output = _forward();
        return (output - other._forward()).abs().max().item<float>() / output.abs().max().item<float>();
    }

    /// <summary>The forward pass alone, nothing kept for a backward pass.</summary>
    public void Forward()
    {
        using var scope = NewDisposeScope();
        using (no_grad())
            _forward();
    }

    /// <summary>Forward pass and the gradients of all inputs and parameters.</summary>
    public void ForwardBackward()
    {
        using var scope = NewDisposeScope();
        autograd.grad([_forward()], _leaves, [_outputGradient]);
    }

    private static Tensor Naive(Tensor q, Tensor k, Tensor v, Tensor? masked)
    {
        Tensor scores = q.mul(1 / Math.Sqrt(q.shape[^1])).matmul(k.transpose(-2, -1));
        if (masked is not null)
            scores = scores.masked_fill_(masked, float.NegativeInfinity);
        return scores.softmax(-1).matmul(v);
    }
}
