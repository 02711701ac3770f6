namespace Gpt2.Model;

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
