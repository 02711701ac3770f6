namespace TorchFlash;

/// <summary>Where the diagonal of a causal mask lies when there are not as many queries as keys.</summary>
public enum CausalAlignment
{
    /// <summary>Query i attends to keys j &lt;= i, as <c>torch.nn.functional.scaled_dot_product_attention</c> has it.</summary>
    TopLeft,

    /// <summary>
    /// Query i attends to keys j &lt;= i + Nk - Nq, as FlashAttention 2.1 and later have it: the last query sees every key,
    /// which is what decoding with a key-value cache needs. Queries before the first key give 0.
    /// </summary>
    BottomRight,
}
