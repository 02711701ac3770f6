namespace TorchFlash.Kernels;

/// <summary>Which keys a query may attend to by position.</summary>
public enum CausalMask
{
    /// <summary>Every query attends to every key.</summary>
    None,

    /// <summary>Query i attends to keys j &lt;= i: the diagonal starts in the top left corner of S, as in libtorch.</summary>
    TopLeft,

    /// <summary>
    /// Query i attends to keys j &lt;= i + KeyLength - QueryLength: the diagonal ends in the bottom right corner of S,
    /// as in FlashAttention 2.1 and later (decoding with a key-value cache).
    /// </summary>
    BottomRight,
}
