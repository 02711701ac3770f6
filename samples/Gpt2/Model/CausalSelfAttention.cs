using TorchFlash;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace Gpt2.Model;

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

/// <summary>GPT-2's multi-head causal self-attention: one packed projection to Q, K and V, and one back.</summary>
internal sealed class CausalSelfAttention : Module<Tensor, Tensor>
{
    private readonly GptConfig _config;
    private readonly AttentionKind _kind;
    private readonly Linear _qkvProjection;
    private readonly Linear _outputProjection;

    internal CausalSelfAttention(GptConfig config, AttentionKind kind)
        : base(nameof(CausalSelfAttention))
    {
        (_config, _kind) = (config, kind);
        _qkvProjection = Linear(config.Width, 3L * config.Width);
        _outputProjection = Linear(config.Width, config.Width);
        register_module("c_attn", _qkvProjection);
        register_module("c_proj", _outputProjection);
    }

    /// <summary>(B, N, C) to (B, N, C).</summary>
    public override Tensor forward(Tensor x)
    {
        using DisposeScope scope = NewDisposeScope();
        long batch = x.shape[0], length = x.shape[1];

        // Q, K and V stay where the projection wrote them: (B, H, N, d) views with a row stride of 3 C.
        Tensor[] qkv = _qkvProjection.call(x).split(_config.Width, dim: 2);
        Tensor Heads(Tensor t) => t.view(batch, length, _config.Heads, _config.HeadSize).transpose(1, 2);

        Tensor o = Attend(Heads(qkv[0]), Heads(qkv[1]), Heads(qkv[2]));
        Tensor y = _outputProjection.call(o.transpose(1, 2).reshape(batch, length, _config.Width));
        return functional.dropout(y, _config.Dropout, training).MoveToOuterDisposeScope();
    }

    private Tensor Attend(Tensor q, Tensor k, Tensor v)
    {
        double p = training ? _config.Dropout : 0;
        return _kind switch
        {
            AttentionKind.Flash => flash.nn.functional.scaled_dot_product_attention(q, k, v, null, p, is_causal: true),
            AttentionKind.Sdpa => functional.scaled_dot_product_attention(q, k, v, null, p, is_casual: true),
            AttentionKind.Naive => NaiveAttention(q, k, v, p),
            _ => throw new InvalidOperationException($"Unknown attention '{_kind}'."),
        };
    }

    private static Tensor NaiveAttention(Tensor q, Tensor k, Tensor v, double dropout)
    {
        long length = q.shape[2];
        Tensor future = ones(length, length, dtype: ScalarType.Bool, device: q.device).triu(1);
        Tensor s = matmul(q, k.transpose(-2, -1)) * (1 / Math.Sqrt(q.shape[3]));
        Tensor p = s.masked_fill(future, double.NegativeInfinity).softmax(-1);
        return matmul(dropout > 0 ? functional.dropout(p, dropout, training: true) : p, v);
    }
}
