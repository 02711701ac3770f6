using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Gpt2.Model;

/// <summary>GPT-2 without its output head: token ids (B, N) to final hidden states (B, N, C).</summary>
internal sealed class Transformer : Module<Tensor, Tensor>
{
    private readonly double _dropout;
    private readonly Embedding _positionEmbedding;
    private readonly ModuleList<Block> _blocks;
    private readonly LayerNorm _finalNorm;

    internal Transformer(GptConfig config, AttentionKind kind)
        : base(nameof(Transformer))
    {
        _dropout = config.Dropout;
        TokenEmbedding = Embedding(config.VocabularySize, config.Width);
        _positionEmbedding = Embedding(config.Context, config.Width);
        _blocks = ModuleList([.. Enumerable.Range(0, config.Layers).Select(_ => new Block(config, kind))]);
        _finalNorm = LayerNorm(config.Width);
        register_module("wte", TokenEmbedding);
        register_module("wpe", _positionEmbedding);
        register_module("h", _blocks);
        register_module("ln_f", _finalNorm);
    }

    internal Embedding TokenEmbedding { get; }

    /// <inheritdoc/>
    public override Tensor forward(Tensor tokens)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor positions = arange(tokens.shape[1], dtype: ScalarType.Int64, device: tokens.device);
        Tensor x = TokenEmbedding.call(tokens) + _positionEmbedding.call(positions);
        x = functional.dropout(x, _dropout, training);
        foreach (Block block in _blocks) x = block.call(x);
        return _finalNorm.call(x).MoveToOuterDisposeScope();
    }
}
