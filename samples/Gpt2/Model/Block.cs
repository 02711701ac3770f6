using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Gpt2.Model;

/// <summary>A pre-norm transformer block: x + Attention(LN(x)), then x + MLP(LN(x)).</summary>
internal sealed class Block : Module<Tensor, Tensor>
{
    private readonly LayerNorm _attentionNorm;
    private readonly CausalSelfAttention _attention;
    private readonly LayerNorm _mlpNorm;
    private readonly FeedForward _mlp;

    internal Block(GptConfig config, AttentionKind kind)
        : base(nameof(Block))
    {
        _attentionNorm = LayerNorm(config.Width);
        _attention = new CausalSelfAttention(config, kind);
        _mlpNorm = LayerNorm(config.Width);
        _mlp = new FeedForward(config);
        register_module("ln_1", _attentionNorm);
        register_module("attn", _attention);
        register_module("ln_2", _mlpNorm);
        register_module("mlp", _mlp);
    }

    /// <summary>(B, N, C) to (B, N, C).</summary>
    public override Tensor forward(Tensor x)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor y = x + _attention.call(_attentionNorm.call(x));
        return (y + _mlp.call(_mlpNorm.call(y))).MoveToOuterDisposeScope();
    }
}
