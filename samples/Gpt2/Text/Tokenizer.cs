using System.Text;

namespace Gpt2.Text;

/// <summary>Text to token ids and back. Ids run from 0 to <see cref="VocabularySize"/> - 1.</summary>
public interface ITokenizer
{
    /// <summary>Number of different tokens.</summary>
    int VocabularySize { get; }

    /// <summary>The token put between two documents, or null if the vocabulary has none.</summary>
    int? EndOfText { get; }

    /// <summary>The tokens of a text in UTF-8. Any bytes have an encoding, and its tokens' bytes are those bytes.</summary>
    int[] Encode(ReadOnlySpan<byte> text);

    /// <summary>The bytes that one token stands for; a character of UTF-8 may span several tokens.</summary>
    ReadOnlySpan<byte> Bytes(int token);
}

/// <summary>Strings for <see cref="ITokenizer"/>.</summary>
public static class TokenizerExtensions
{
    /// <summary>The tokens of a text.</summary>
    public static int[] Encode(this ITokenizer tokenizer, string text) => tokenizer.Encode(Encoding.UTF8.GetBytes(text));
}

/// <summary>One token a byte: 256 tokens, no files, any text.</summary>
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
    public int[] Encode(ReadOnlySpan<byte> text) => Array.ConvertAll(text.ToArray(), b => (int)b);

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Bytes(int token) => AllBytes.AsSpan(token, 1);
}

/// <summary>What a checkpoint carries to rebuild a tokeniser: its kind and, for byte-pair encoding, its two files.</summary>
/// <param name="Kind"><c>bytes</c> or <c>bpe</c>.</param>
/// <param name="Vocabulary">Full path of <c>vocab.json</c> (byte-pair encoding only).</param>
/// <param name="Merges">Full path of <c>merges.txt</c> (byte-pair encoding only).</param>
public sealed record TokenizerDescription(string Kind, string? Vocabulary = null, string? Merges = null)
{
    /// <summary>Builds the tokeniser described here, reading its files.</summary>
    /// <exception cref="UserException">The files are missing or are not a GPT-2 vocabulary.</exception>
    public ITokenizer Load() => Kind switch
    {
        ByteTokenizer.Kind => new ByteTokenizer(),
        BytePairTokenizer.Kind when Vocabulary is not null && Merges is not null => BytePairTokenizer.Load(Vocabulary, Merges),
        BytePairTokenizer.Kind => throw new UserException("The byte-pair tokeniser lacks its vocabulary or its merges."),
        _ => throw new UserException($"Unknown tokeniser '{Kind}'."),
    };
}
