using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Gpt2.Model;

/// <summary>GPT-2's MLP: four times wider inside, with the tanh form of GELU.</summary>
internal sealed class FeedForward : Module<Tensor, Tensor>
{
    private readonly double _dropout;
    private readonly Linear _expansion;
    private readonly Linear _contraction;

    internal FeedForward(GptConfig config)
        : base(nameof(FeedForward))
    {
        _dropout = config.Dropout;
        _expansion = Linear(config.Width, 4L * config.Width);
        _contraction = Linear(4L * config.Width, config.Width);
        register_module("c_fc", _expansion);
        register_module("c_proj", _contraction);
    }

    /// <summary>(B, N, C) to (B, N, C).</summary>
    public override Tensor forward(Tensor x)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor y = _contraction.call(Gelu(_expansion.call(x)));
        return functional.dropout(y, _dropout, training).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// GELU in GPT-2's tanh form, gelu(x) = x/2 (1 + tanh u) with u = sqrt(2/pi) (x + 0.044715 x³), computed as
    /// x sigmoid(2u), which is the same function in fewer operations.
    /// </summary>
    internal static Tensor Gelu(Tensor x)
    {
        double c = 2 * Math.Sqrt(2 / Math.PI);
        using DisposeScope scope = NewDisposeScope();
        Tensor slope = (x * x).mul_(0.044715 * c).add_(c);
        return (x * sigmoid(x * slope)).MoveToOuterDisposeScope();
    }
}
