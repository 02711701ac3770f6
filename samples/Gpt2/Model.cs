using TorchFlash;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Gpt2;

// GPT-2, top to bottom. B sequences of N tokens, width C, H heads of size d = C / H, V tokens in the vocabulary:
//
//   x      = E[token] + P[position]                        (B, N, C)
//   x      = x + Attention(LayerNorm(x))                   a block, n_layer times ...
//   x      = x + MLP(LayerNorm(x))                         ... of these two lines
//   logits = LayerNorm(x) Eᵀ                               (B, N, V)

/// <summary>The shape of a GPT-2 model.</summary>
/// <param name="Layers">Number of transformer blocks.</param>
/// <param name="Heads">Attention heads a block.</param>
/// <param name="Width">Size of the residual stream, a multiple of <paramref name="Heads"/>.</param>
/// <param name="Context">Longest sequence: the number of learned positions.</param>
/// <param name="VocabularySize">Number of tokens.</param>
/// <param name="Dropout">Probability of dropping an embedding, an attention weight or a residual branch's output.</param>
public sealed record GptConfig(int Layers, int Heads, int Width, int Context, int VocabularySize, double Dropout = 0)
{
    /// <summary>Vocabulary of GPT-2's byte-pair encoding.</summary>
    public const int Gpt2VocabularySize = 50257;

    /// <summary>Size of one head.</summary>
    public int HeadSize => Width / Heads;

    /// <summary>Number of learned values; the output head shares the token embedding's.</summary>
    /// <remarks>An absurd shape, of more than 2⁶³ values, has <see cref="long.MaxValue"/>.</remarks>
    public long ParameterCount
    {
        get
        {
            Int128 c = Width;
            Int128 layerNorm = 2 * c;
            Int128 attention = (c * 3 * c) + (3 * c) + (c * c) + c;
            Int128 mlp = (c * 4 * c) + (4 * c) + (4 * c * c) + c;
            Int128 count = (((Int128)VocabularySize + Context) * c) + (Layers * ((2 * layerNorm) + attention + mlp)) + layerNorm;
            return (long)Int128.Min(count, long.MaxValue);
        }
    }

    /// <summary>Refuses a shape that no model can have.</summary>
    /// <exception cref="ArgumentException">A size is not positive, the heads do not divide the width, or the dropout is not in [0, 1).</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(Layers);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(Heads);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(Width);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(Context);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(VocabularySize);
        if (Width % Heads != 0)
            throw new ArgumentException($"Width {Width} is not a multiple of the {Heads} heads.", nameof(Width));
        if (Dropout is not (>= 0 and < 1))
            throw new ArgumentOutOfRangeException(nameof(Dropout), Dropout, "Dropout must be at least 0 and less than 1.");
    }
}

/// <summary>A named model size and the training settings that suit it.</summary>
/// <param name="Name">As given to <c>--preset</c>.</param>
/// <param name="Layers">Number of transformer blocks.</param>
/// <param name="Heads">Attention heads a block.</param>
/// <param name="Width">Size of the residual stream.</param>
/// <param name="Context">Number of positions.</param>
/// <param name="Steps">Default number of optimiser steps.</param>
/// <param name="BatchSize">Default number of sequences in a forward pass.</param>
/// <param name="LearningRate">Default peak learning rate.</param>
public sealed record Preset(
    string Name, int Layers, int Heads, int Width, int Context, int Steps, int BatchSize, double LearningRate)
{
    /// <summary>All presets, smallest first; the first one is the default.</summary>
    public static IReadOnlyList<Preset> All { get; } =
    [
        new("nano", 4, 4, 128, 128, 2500, 8, 3e-3),
        new("micro", 6, 6, 384, 512, 2000, 8, 1e-3),
        new("gpt2", 12, 12, 768, 1024, 20_000, 4, 6e-4),
        new("gpt2-medium", 24, 16, 1024, 1024, 20_000, 4, 3e-4),
        new("gpt2-large", 36, 20, 1280, 1024, 20_000, 2, 2.5e-4),
        new("gpt2-xl", 48, 25, 1600, 1024, 20_000, 2, 2e-4),
    ];

    /// <summary>The preset of that name.</summary>
    /// <exception cref="ArgumentException">There is none.</exception>
    public static Preset Named(string name) =>
        All.FirstOrDefault(preset => preset.Name == name)
        ?? throw new ArgumentException($"No preset '{name}'; there are {string.Join(", ", All.Select(preset => preset.Name))}.", nameof(name));

    /// <summary>The model of this size for a vocabulary.</summary>
    public GptConfig Config(int vocabularySize) => new(Layers, Heads, Width, Context, vocabularySize);
}

/// <summary>Which implementation of causal attention a model runs. All three compute the same function.</summary>
public enum AttentionKind
{
    /// <summary>TorchFlash's fused, tiled attention.</summary>
    Flash,

    /// <summary>libtorch's <c>scaled_dot_product_attention</c>.</summary>
    Sdpa,

    /// <summary>Matrix product, mask, softmax, matrix product: holds an N x N matrix for each head.</summary>
    Naive,
}

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
    public Device Device
    {
        get
        {
            using DisposeScope scope = NewDisposeScope(); // a layer's weight is a new object each time
            return _transformer.TokenEmbedding.device;
        }
    }

    /// <summary>Logits (B, N, V) for the token after each of <paramref name="tokens"/> (B, N), int64, N at most the context.</summary>
    public override Tensor forward(Tensor tokens)
    {
        using DisposeScope scope = NewDisposeScope();
        return Head(_transformer.call(tokens, null)).MoveToOuterDisposeScope();
    }

    /// <summary>Logits (B, V) for the one token after <paramref name="tokens"/> (B, N).</summary>
    /// <param name="tokens">What stands behind <paramref name="cache"/>'s tokens, or all tokens without a cache.</param>
    /// <param name="cache">Keys and values of the tokens before; those of <paramref name="tokens"/> are added.</param>
    public Tensor NextTokenLogits(Tensor tokens, KeyValueCache? cache = null)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor hidden = _transformer.call(tokens, cache);
        return Head(hidden.select(1, tokens.shape[1] - 1)).MoveToOuterDisposeScope();
    }

    /// <summary>Mean cross-entropy, in nats a token, of predicting <paramref name="targets"/> (B, N) from <paramref name="tokens"/> (B, N).</summary>
    /// <param name="tokens">The tokens.</param>
    /// <param name="targets">The tokens one place further.</param>
    /// <param name="last">Take the mean over this many targets, at the end of each sequence; null: over all.</param>
    public Tensor Loss(Tensor tokens, Tensor targets, long? last = null)
    {
        // L = -1/(B N) Σ log softmax(logits)[target]
        using DisposeScope scope = NewDisposeScope();
        Tensor hidden = _transformer.call(tokens, null);
        if (last is { } count)
        {
            hidden = hidden.narrow(1, tokens.shape[1] - count, count);
            targets = targets.narrow(1, tokens.shape[1] - count, count);
        }

        Tensor logits = Head(hidden).view(-1, Config.VocabularySize);
        return functional.cross_entropy(logits, targets.reshape(-1)).MoveToOuterDisposeScope();
    }

    // logits = x Eᵀ
    private Tensor Head(Tensor x) => functional.linear(x, _transformer.TokenEmbedding);

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

/// <summary>All but the output head: token ids (B, N) to final hidden states (B, N, C).</summary>
internal sealed class Transformer : Module<Tensor, KeyValueCache?, Tensor>
{
    private readonly double _dropout;
    private readonly Embedding _tokenEmbedding;
    private readonly Embedding _positionEmbedding;
    private readonly ModuleList<Block> _blocks;
    private readonly LayerNorm _finalNorm;

    internal Transformer(GptConfig config, AttentionKind kind)
        : base(nameof(Transformer))
    {
        _dropout = config.Dropout;
        _tokenEmbedding = Embedding(config.VocabularySize, config.Width);
        _positionEmbedding = Embedding(config.Context, config.Width);
        _blocks = ModuleList([.. Enumerable.Range(0, config.Layers).Select(layer => new Block(config, kind, layer))]);
        _finalNorm = LayerNorm(config.Width);
        register_module("wte", _tokenEmbedding);
        register_module("wpe", _positionEmbedding);
        register_module("h", _blocks);
        register_module("ln_f", _finalNorm);
    }

    // E, (V, C)
    internal Tensor TokenEmbedding => _tokenEmbedding.weight!;

    public override Tensor forward(Tensor tokens, KeyValueCache? cache)
    {
        using DisposeScope scope = NewDisposeScope();

        // x = E[token] + P[position]
        Tensor positions = cache?.Advance(tokens) ?? arange(tokens.shape[1], dtype: ScalarType.Int64, device: tokens.device);
        Tensor x = _tokenEmbedding.call(tokens) + _positionEmbedding.call(positions);
        x = functional.dropout(x, _dropout, training);
        foreach (Block block in _blocks) x = block.call(x, cache);
        return _finalNorm.call(x).MoveToOuterDisposeScope();
    }
}

/// <summary>A pre-norm transformer block, (B, N, C) to (B, N, C).</summary>
internal sealed class Block : Module<Tensor, KeyValueCache?, Tensor>
{
    private readonly LayerNorm _attentionNorm;
    private readonly CausalSelfAttention _attention;
    private readonly LayerNorm _mlpNorm;
    private readonly FeedForward _mlp;

    internal Block(GptConfig config, AttentionKind kind, int layer)
        : base(nameof(Block))
    {
        _attentionNorm = LayerNorm(config.Width);
        _attention = new CausalSelfAttention(config, kind, layer);
        _mlpNorm = LayerNorm(config.Width);
        _mlp = new FeedForward(config);
        register_module("ln_1", _attentionNorm);
        register_module("attn", _attention);
        register_module("ln_2", _mlpNorm);
        register_module("mlp", _mlp);
    }

    public override Tensor forward(Tensor x, KeyValueCache? cache)
    {
        // y = x + Attention(LayerNorm(x)),   z = y + MLP(LayerNorm(y))
        using DisposeScope scope = NewDisposeScope();
        Tensor y = x + _attention.call(_attentionNorm.call(x), cache);
        return (y + _mlp.call(_mlpNorm.call(y))).MoveToOuterDisposeScope();
    }
}

/// <summary>Multi-head causal self-attention: one packed projection to Q, K and V, and one back.</summary>
internal sealed class CausalSelfAttention : Module<Tensor, KeyValueCache?, Tensor>
{
    private readonly GptConfig _config;
    private readonly AttentionKind _kind;
    private readonly int _layer;
    private readonly Linear _qkvProjection;
    private readonly Linear _outputProjection;

    internal CausalSelfAttention(GptConfig config, AttentionKind kind, int layer)
        : base(nameof(CausalSelfAttention))
    {
        (_config, _kind, _layer) = (config, kind, layer);
        _qkvProjection = Linear(config.Width, 3L * config.Width);
        _outputProjection = Linear(config.Width, config.Width);
        register_module("c_attn", _qkvProjection);
        register_module("c_proj", _outputProjection);
    }

    public override Tensor forward(Tensor x, KeyValueCache? cache)
    {
        using DisposeScope scope = NewDisposeScope();
        long batch = x.shape[0], length = x.shape[1];

        // Q, K, V = x Wqkv + b. They stay where the projection wrote them: (B, H, N, d) views with a row stride of 3 C.
        Tensor[] qkv = _qkvProjection.call(x).split(_config.Width, dim: 2);
        Tensor Heads(Tensor t) => t.view(batch, length, _config.Heads, _config.HeadSize).transpose(1, 2);

        // O = softmax(Q Kᵀ / sqrt(d), later keys hidden) V
        Tensor o = Attend(Heads(qkv[0]), Heads(qkv[1]), Heads(qkv[2]), cache);

        // y = O Wo + b
        Tensor y = _outputProjection.call(o.transpose(1, 2).reshape(batch, length, _config.Width));
        return functional.dropout(y, _config.Dropout, training).MoveToOuterDisposeScope();
    }

    private Tensor Attend(Tensor q, Tensor k, Tensor v, KeyValueCache? cache)
    {
        if (cache is not null) (k, v) = cache.Append(_layer, k, v);
        double p = training ? _config.Dropout : 0;

        // The queries are the last of the keys' positions, so the causal diagonal ends in the lower right corner.
        if (_kind == AttentionKind.Flash)
        {
            return flash.nn.functional.scaled_dot_product_attention(
                q, k, v, cache?.VisibleKeys, p, is_causal: true, causal_alignment: CausalAlignment.BottomRight);
        }

        long queries = q.shape[2], keys = k.shape[2];
        if (_kind == AttentionKind.Sdpa && queries == keys && cache?.VisibleKeys is null)
            return functional.scaled_dot_product_attention(q, k, v, null, p, is_casual: true);

        // (Nq, Nk), or (B, 1, Nq, Nk) with padding. That sees itself: a row that sees nothing has no softmax.
        Tensor visible = ones(queries, keys, dtype: ScalarType.Bool, device: q.device).tril(keys - queries);
        if (cache?.VisibleKeys is { } tokens) visible = visible.logical_and(tokens).logical_or(visible.triu(keys - queries));
        return _kind switch
        {
            AttentionKind.Sdpa => functional.scaled_dot_product_attention(q, k, v, visible, p),
            AttentionKind.Naive => NaiveAttention(q, k, v, visible, p),
            _ => throw new InvalidOperationException($"Unknown attention '{_kind}'."),
        };
    }

    // S = Q Kᵀ / sqrt(d),   P = softmax(S),   O = P V
    private static Tensor NaiveAttention(Tensor q, Tensor k, Tensor v, Tensor visible, double dropout)
    {
        Tensor s = matmul(q, k.transpose(-2, -1)) * (1 / Math.Sqrt(q.shape[3]));
        Tensor p = s.masked_fill(visible.logical_not(), double.NegativeInfinity).softmax(-1);
        return matmul(dropout > 0 ? functional.dropout(p, dropout, training: true) : p, v);
    }
}

/// <summary>The MLP, (B, N, C) to (B, N, C): four times wider inside.</summary>
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

    public override Tensor forward(Tensor x)
    {
        // y = gelu(x W1 + b1) W2 + b2
        using DisposeScope scope = NewDisposeScope();
        Tensor y = _contraction.call(Gelu(_expansion.call(x)));
        return functional.dropout(y, _dropout, training).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// GELU in GPT-2's tanh form, gelu(x) = x/2 (1 + tanh u) with u = sqrt(2/pi) (x + 0.044715 x³), computed as
    /// x sigmoid(2u), which is the same function in fewer operations. TorchSharp's own GELU has only the form with erf.
    /// </summary>
    internal static Tensor Gelu(Tensor x)
    {
        double c = 2 * Math.Sqrt(2 / Math.PI);
        using DisposeScope scope = NewDisposeScope();
        Tensor slope = (x * x).mul_(0.044715 * c).add_(c);
        return (x * sigmoid(x * slope)).MoveToOuterDisposeScope();
    }
}

/// <summary>
/// Keys and values of the tokens that a model has seen, so that the next token costs one row of every matrix product. All sequences end
/// at the same column; a shorter one begins later, behind columns of padding.
/// </summary>
public sealed class KeyValueCache : IDisposable
{
    // A layer's keys and its values, (B, H, Context, d) each.
    private readonly (Tensor Keys, Tensor Values)[] _layers;
    private readonly Device _device;
    private readonly int _batch;
    private long[] _starts;
    private int _appended;

    /// <summary>Memory for the whole context of <paramref name="model"/>.</summary>
    /// <param name="model">The model.</param>
    /// <param name="batch">Sequences.</param>
    public KeyValueCache(GptModel model, int batch)
    {
        GptConfig config = model.Config;
        (Context, _device, _batch, _starts) = (config.Context, model.Device, batch, new long[batch]);
        ScalarType type = model.parameters().First().dtype;
        Tensor Memory() => zeros([batch, config.Heads, config.Context, config.HeadSize], type, _device).DetachFromDisposeScope();
        _layers = [.. Enumerable.Range(0, config.Layers).Select(_ => (Memory(), Memory()))];
    }

    /// <summary>Columns that can be filled.</summary>
    public int Context { get; }

    /// <summary>Columns that are filled.</summary>
    public int Length { get; private set; }

    /// <summary>Bool, (B, 1, 1, columns): which keys are tokens and not padding; null if all are.</summary>
    internal Tensor? VisibleKeys { get; private set; }

    /// <summary>Forgets all tokens.</summary>
    /// <param name="starts">The column of each sequence's first token from now on.</param>
    public void Restart(long[] starts)
    {
        if (starts.Length != _batch) throw new ArgumentException($"{starts.Length} sequences; the cache has {_batch}.", nameof(starts));
        (Length, _starts, VisibleKeys) = (0, starts, null);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach ((Tensor keys, Tensor values) in _layers)
        {
            keys.Dispose();
            values.Dispose();
        }
    }

    // Makes room for the tokens (B, N); the result is their positions, (N) or (B, N).
    internal Tensor Advance(Tensor tokens)
    {
        if (tokens.shape[0] != _batch) throw new ArgumentException($"{tokens.shape[0]} sequences; the cache has {_batch}.", nameof(tokens));
        if (Length + tokens.shape[1] > Context) throw new ArgumentException($"{Length} + {tokens.shape[1]} tokens are more than the context, {Context}.", nameof(tokens));
        _appended = (int)tokens.shape[1];
        Length += _appended;
        Tensor columns = arange(Length, dtype: ScalarType.Int64, device: _device), added = columns.narrow(0, Length - _appended, _appended);
        if (_starts.All(start => start == 0)) return added;
        Tensor starts = tensor(_starts, [_batch, 1], device: _device);
        VisibleKeys = columns.ge(starts).view(_batch, 1, 1, Length);
        return (added - starts).clamp_min(0);
    }

    // K and V of one layer and of all columns, after those of the new ones have been written behind the others.
    internal (Tensor Keys, Tensor Values) Append(int layer, Tensor k, Tensor v)
    {
        (Tensor keys, Tensor values) = _layers[layer];
        keys.narrow(2, Length - _appended, _appended).copy_(k);
        values.narrow(2, Length - _appended, _appended).copy_(v);
        return (keys.narrow(2, 0, Length), values.narrow(2, 0, Length));
    }
}
