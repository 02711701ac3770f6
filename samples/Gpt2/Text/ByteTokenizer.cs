using System.Text;

namespace Gpt2.Text;

/// <summary>One token a byte of UTF-8: 256 tokens, no files, any text.</summary>
public sealed class ByteTokenizer : ITokenizer
{
    /// <summary>Name of this tokeniser in a checkpoint.</summary>
    public const string Kind = "bytes";

    private static readonly byte[] AllBytes = [.. Enumerable.Range(0, 256).Select(b => (byte)b)];

    /// <inheritdoc/>
    public int VocabularySize => 256;

    /// <inheritdoc/>
    public int? EndOfText => null;

    /// <inheritdoc/>
    public int[] Encode(string text) => Array.ConvertAll(Encoding.UTF8.GetBytes(text), b => (int)b);

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Bytes(int token) => AllBytes.AsSpan(token, 1);
}
