using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Gpt2.Model;

/// <summary>
/// GPT-2: learned positions, pre-norm blocks, tanh GELU, and an output head that shares the token embedding. Parameters are
/// named as in GPT-2 (<c>transformer.h.0.attn.c_attn.weight</c>); weight matrices are stored (out, in), the transpose of
/// the published ones.
/// </summary>
public sealed class GptModel : Module<Tensor, Tensor>
{
    private const double InitialStandardDeviation = 0.02;

    private readonly Transformer _transformer;

    /// <summary>A freshly initialised model; the weights are drawn from torch's global random generator.</summary>
    /// <exception cref="ArgumentException"><paramref name="config"/> is not a possible shape.</exception>
    public GptModel(GptConfig config, AttentionKind attention)
        : base(nameof(GptModel))
    {
        config.Validate();
        Config = config;
        _transformer = new Transformer(config, attention);
        register_module("transformer", _transformer);
        Initialise();
    }

    /// <summary>The shape.</summary>
    public GptConfig Config { get; }

    /// <summary>Where the parameters are.</summary>
    public Device Device => _transformer.TokenEmbedding.weight!.device;

    /// <summary>Logits (B, N, V) for the token after each of <paramref name="tokens"/> (B, N), int64, N at most the context.</summary>
    public override Tensor forward(Tensor tokens)
    {
        using DisposeScope scope = NewDisposeScope();
        return Head(_transformer.call(tokens)).MoveToOuterDisposeScope();
    }

    /// <summary>Logits (B, V) for the one token after <paramref name="tokens"/> (B, N).</summary>
    public Tensor NextTokenLogits(Tensor tokens)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor hidden = _transformer.call(tokens);
        return Head(hidden.select(1, tokens.shape[1] - 1)).MoveToOuterDisposeScope();
    }

    /// <summary>Mean cross-entropy, in nats a token, of predicting <paramref name="targets"/> (B, N) from <paramref name="tokens"/> (B, N).</summary>
    public Tensor Loss(Tensor tokens, Tensor targets)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor logits = call(tokens).view(-1, Config.VocabularySize);
        return functional.cross_entropy(logits, targets.view(-1)).MoveToOuterDisposeScope();
    }

    private Tensor Head(Tensor hidden) => functional.linear(hidden, _transformer.TokenEmbedding.weight!);

    // Weights N(0, 0.02²), biases 0, norms 1 and 0. The 2 n_layer projections that add to the residual stream are scaled by
    // 1/sqrt(2 n_layer), so that its variance does not grow with depth.
    private void Initialise()
    {
        double residual = InitialStandardDeviation / Math.Sqrt(2.0 * Config.Layers);
        foreach ((string name, Parameter parameter) in named_parameters())
        {
            if (name.EndsWith(".bias", StringComparison.Ordinal)) init.zeros_(parameter);
            else if (parameter.dim() == 1) init.ones_(parameter);
            else if (name.EndsWith("c_proj.weight", StringComparison.Ordinal)) init.normal_(parameter, 0, residual);
            else init.normal_(parameter, 0, InitialStandardDeviation);
        }
    }
}
