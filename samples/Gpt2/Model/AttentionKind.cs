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
