using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Unicode;

namespace Gpt2.Text;

/// <summary>A text as tokens, parted into what is learned from and what only measures.</summary>
public sealed class Corpus
{
    /// <summary>Share of each document, at its end, that is kept for validation.</summary>
    public const double ValidationShare = 0.05;

    // Of bytes, hence of characters and of tokens: what a string can hold for certain.
    private const int MaximumFileLength = 1_000_000_000;

    private Corpus(ushort[] training, ushort[] validation, string name)
    {
        (Training, Validation, Name) = (training, validation, name);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(BitConverter.GetBytes(training.Length));
        hash.AppendData(MemoryMarshal.AsBytes(training.AsSpan()));
        hash.AppendData(MemoryMarshal.AsBytes(validation.AsSpan()));
        Fingerprint = Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>The tokens to learn from.</summary>
    public ushort[] Training { get; }

    /// <summary>The tokens to validate on, disjoint from <see cref="Training"/>.</summary>
    public ushort[] Validation { get; }

    /// <summary>What the text is, for people.</summary>
    public string Name { get; }

    /// <summary>SHA-256 over all tokens: equal exactly when the tokens and their split are equal.</summary>
    public string Fingerprint { get; }

    /// <summary>Reads UTF-8 text files, or, if none is named, the .NET API documentation of this machine.</summary>
    /// <exception cref="UserException">A file cannot be read or is not UTF-8, or there is no default text.</exception>
    public static Corpus Load(IReadOnlyList<string> files, ITokenizer tokenizer)
    {
        (IEnumerable<byte[]> texts, string name) = Documents(files);
        return FromDocuments(texts, tokenizer, name);
    }

    /// <summary>The documents, read one by one, and what they are, for people.</summary>
    /// <exception cref="UserException">A file cannot be read or is not UTF-8, or there is no default text.</exception>
    public static (IEnumerable<byte[]> Texts, string Name) Documents(IReadOnlyList<string> files)
    {
        if (files.Count > 0) return (files.Select(ReadUtf8), string.Join(", ", files.Select(Path.GetFileName)));
        IReadOnlyList<string> documentation = ReferencePackCorpus.Locate(DotnetRoot.Candidates());
        return (documentation.Select(ReferencePackCorpus.ReadText).Select(Encoding.UTF8.GetBytes), $".NET API documentation ({documentation.Count} files)");
    }

    /// <summary>Tokenises documents; the last 5 % of each one goes to validation.</summary>
    /// <exception cref="UserException">The vocabulary has more than 65,536 tokens.</exception>
    public static Corpus FromDocuments(IEnumerable<string> documents, ITokenizer tokenizer, string name) =>
        FromDocuments(documents.Select(Encoding.UTF8.GetBytes), tokenizer, name);

    /// <summary>Tokenises documents; the last 5 % of each one goes to validation.</summary>
    /// <exception cref="UserException">The vocabulary has more than 65,536 tokens.</exception>
    public static Corpus FromDocuments(IEnumerable<byte[]> documents, ITokenizer tokenizer, string name)
    {
        if (tokenizer.VocabularySize > ushort.MaxValue + 1)
            throw new UserException($"--vocab: {tokenizer.VocabularySize:N0} tokens; at most {ushort.MaxValue + 1:N0} are supported.");

        var training = new List<ushort>();
        var validation = new List<ushort>();
        foreach (byte[] document in documents)
        {
            int[] tokens = tokenizer.Encode(document);
            int split = tokens.Length - (int)(tokens.Length * ValidationShare);
            Append(training, tokens.AsSpan(0, split), tokenizer.EndOfText);
            Append(validation, tokens.AsSpan(split), tokenizer.EndOfText);
        }

        return new Corpus([.. training], [.. validation], name);
    }

    private static void Append(List<ushort> stream, ReadOnlySpan<int> tokens, int? endOfText)
    {
        if (tokens.IsEmpty) return;
        foreach (int token in tokens) stream.Add((ushort)token);
        if (endOfText is { } end) stream.Add((ushort)end);
    }

    // The bytes of a text without the mark that some editors begin it with.
    private static byte[] ReadUtf8(string path)
    {
        try
        {
            // A run is resumed from the same text, which a pipe does not give twice.
            using FileStream stream = RegularFile.OpenRead(path, "--data");
            if (stream.Length > MaximumFileLength)
                throw new UserException($"--data: {path} has {stream.Length:N0} bytes; at most {MaximumFileLength:N0} are supported. Split it.");
            var text = new byte[stream.Length];
            stream.ReadExactly(text);
            if (!Utf8.IsValid(text)) throw new UserException($"--data: {path} is not UTF-8 text.");
            return text.AsSpan().StartsWith(Encoding.UTF8.Preamble) ? text[Encoding.UTF8.Preamble.Length..] : text;
        }
        catch (IOException e)
        {
            throw new UserException($"--data: cannot read {path}: {e.Message}", e);
        }
    }
}

/// <summary>Which text a run is trained on, and how it is made into tokens.</summary>
/// <param name="Files">Full paths of the text files; none for the .NET API documentation.</param>
/// <param name="Name">What the text is, for people.</param>
/// <param name="Fingerprint">As <see cref="Corpus.Fingerprint"/>.</param>
/// <param name="Tokenizer">The tokeniser.</param>
public sealed record CorpusDescription(string[] Files, string Name, string Fingerprint, TokenizerDescription Tokenizer);
