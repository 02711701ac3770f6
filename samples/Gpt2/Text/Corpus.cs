using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace Gpt2.Text;

/// <summary>Tokens one after the other, in memory or in a file that is mapped into it.</summary>
public sealed class TokenSequence
{
    private readonly ushort[]? _tokens;
    private readonly MemoryMappedViewAccessor? _view;
    private readonly int _vocabularySize = ushort.MaxValue + 1;

    /// <summary>Tokens in memory.</summary>
    public TokenSequence(ushort[] tokens) => (_tokens, Length) = (tokens, tokens.LongLength);

    /// <summary>Tokens in a file, of which no one has looked at all.</summary>
    internal TokenSequence(MemoryMappedViewAccessor view, long length, int vocabularySize) => (_view, Length, _vocabularySize) = (view, length, vocabularySize);

    /// <summary>Number of tokens.</summary>
    public long Length { get; }

    /// <summary>The tokens from <paramref name="start"/> on.</summary>
    /// <exception cref="UserException">The file has a token that the vocabulary has not.</exception>
    public ushort[] Read(long start, int count)
    {
        if (_tokens is not null) return _tokens[(int)start..((int)start + count)];
        var tokens = new ushort[count];
        int read = _view!.ReadArray(start * sizeof(ushort), tokens, 0, count);
        if (read < count || Array.Exists(tokens, token => token >= _vocabularySize))
            throw new UserException($"--tokens: the file is damaged: of its tokens {start:N0} to {start + count:N0} some are none of the {_vocabularySize:N0}.");
        return tokens;
    }
}

/// <summary>A text as tokens, parted into what is learned from and what only measures.</summary>
public sealed class Corpus : IDisposable
{
    /// <summary>Share of the text that is kept for validation.</summary>
    public const double ValidationShare = 0.05;

    private const string Format = "gpt2-tokens-1", FormatKey = "format", ManifestKey = "manifest", TrainingTensor = "training", ValidationTensor = "validation";
    private const string What = "--tokens";

    // Of bytes, hence of tokens: what an array can hold for certain.
    private const int MaximumFileLength = 1_000_000_000;

    private readonly IDisposable[] _owned;

    private Corpus(TokenSequence training, TokenSequence validation, string name, string fingerprint, params IDisposable[] owned) =>
        (Training, Validation, Name, Fingerprint, _owned) = (training, validation, name, fingerprint, owned);

    /// <summary>The tokens to learn from.</summary>
    public TokenSequence Training { get; }

    /// <summary>The tokens to validate on, disjoint from <see cref="Training"/>.</summary>
    public TokenSequence Validation { get; }

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

    /// <summary>
    /// Tokenises documents into a file: in the safetensors format, two tensors of unsigned 16-bit numbers and, among the metadata, a
    /// <see cref="TokenManifest"/>. A document is a file or, in a file, what stands between two <c>&lt;|endoftext|&gt;</c>; every twentieth
    /// one is for validation as a whole, of fewer the last, of a single one its last twentieth.
    /// </summary>
    /// <param name="path">The file; an older one is replaced.</param>
    /// <param name="files">The text files, or none for the .NET API documentation.</param>
    /// <param name="description">The tokeniser.</param>
    /// <exception cref="UserException">There is no text, or a file cannot be read or written.</exception>
    public static TokenManifest Encode(string path, IReadOnlyList<string> files, TokenizerDescription description)
    {
        OwnFile.Exists(path, Recognise, What);
        ITokenizer tokenizer = Supported(description.Load());
        (IEnumerable<byte[]> texts, string name) = Documents(files);
        using var text = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var ends = new List<int>();
        var all = new List<ushort>();
        long bytes = 0;
        foreach (byte[] file in texts)
        {
            text.AppendData(file);
            bytes += file.Length;
            foreach (Range range in file.AsSpan().Split("<|endoftext|>"u8))
            {
                int before = all.Count;
                Append(all, tokenizer.Encode(file.AsSpan()[range]), tokenizer.EndOfText);
                if (all.Count > before) ends.Add(all.Count);
            }
        }

        if (all.Count < 2) throw new UserException($"--data: {name} has {all.Count} tokens; to be split for validation it must have at least two.");
        int documents = ends.Count;
        if (documents == 1) ends.Insert(0, all.Count - Math.Max(1, (int)(all.Count * ValidationShare)));
        int interval = Math.Min(ends.Count, (int)(1 / ValidationShare));
        List<ushort> training = [], validation = [];
        for (int i = 0; i < ends.Count; i++)
            (i % interval == interval - 1 ? validation : training).AddRange(CollectionsMarshal.AsSpan(all)[(i == 0 ? 0 : ends[i - 1])..ends[i]]);

        ushort[] learned = [.. training], measured = [.. validation];
        var manifest = new TokenManifest(
            name, bytes, Convert.ToHexStringLower(text.GetHashAndReset()), description, TokenizerHash(tokenizer), tokenizer.VocabularySize, documents, ends.Count / interval, Hash(learned, measured));
        var metadata = new Dictionary<string, string> { [FormatKey] = Format, [ManifestKey] = JsonSerializer.Serialize(manifest) };
        OwnFile.Write(path, Recognise, stream => TensorFile.Write(stream, metadata, [Part(TrainingTensor, learned), Part(ValidationTensor, measured)]), what: What);
        return manifest;

        static TensorFile.Part Part(string name, ushort[] tokens) => new(name, "U16", [tokens.Length], stream => stream.Write(MemoryMarshal.AsBytes(tokens.AsSpan())));
    }

    /// <summary>Opens a file that <see cref="Encode"/> wrote. The tokens stay in the file; it is mapped into memory.</summary>
    /// <exception cref="UserException">It cannot be read, is damaged, is of another kind, or the tokeniser is another one.</exception>
    public static (Corpus Corpus, TokenManifest Manifest, ITokenizer Tokenizer) Open(string path)
    {
        (TensorFile file, TokenManifest manifest) = OpenFile(path);
        try
        {
            ITokenizer tokenizer = manifest.Tokenizer.Load();
            if (tokenizer.VocabularySize != manifest.VocabularySize || TokenizerHash(tokenizer) != manifest.TokenizerHash)
                throw new UserException($"{What}: {path} was made with another tokeniser than {manifest.Tokenizer.Vocabulary} and {manifest.Tokenizer.Merges} are now.");
            MemoryMappedFile mapping = file.Mapping();
            MemoryMappedViewAccessor[] views = [file.Map(mapping, TrainingTensor), file.Map(mapping, ValidationTensor)];
            TokenSequence[] parts = [.. views.Select((view, i) => new TokenSequence(view, file.Entries[i == 0 ? TrainingTensor : ValidationTensor].Shape[0], manifest.VocabularySize))];
            return (new Corpus(parts[0], parts[1], manifest.Name, manifest.Fingerprint, [.. views, mapping, file]), manifest, tokenizer);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (IDisposable owned in _owned) owned.Dispose();
    }

    private static Corpus FromDocuments(IEnumerable<byte[]> documents, ITokenizer tokenizer, string name)
    {
        Supported(tokenizer);
        var training = new List<ushort>();
        var validation = new List<ushort>();
        foreach (byte[] document in documents)
        {
            int[] tokens = tokenizer.Encode(document);
            int split = tokens.Length - (int)(tokens.Length * ValidationShare);
            Append(training, tokens.AsSpan(0, split), tokenizer.EndOfText);
            Append(validation, tokens.AsSpan(split), tokenizer.EndOfText);
        }

        ushort[] learned = [.. training], measured = [.. validation];
        return new Corpus(new TokenSequence(learned), new TokenSequence(measured), name, Hash(learned, measured));
    }

    private static ITokenizer Supported(ITokenizer tokenizer) => tokenizer.VocabularySize <= ushort.MaxValue + 1
        ? tokenizer
        : throw new UserException($"--vocab: {tokenizer.VocabularySize:N0} tokens; at most {ushort.MaxValue + 1:N0} are supported.");

    private static void Append(List<ushort> stream, ReadOnlySpan<int> tokens, int? endOfText)
    {
        if (tokens.IsEmpty) return;
        foreach (int token in tokens) stream.Add((ushort)token);
        if (endOfText is { } end) stream.Add((ushort)end);
    }

    private static string Hash(ushort[] training, ushort[] validation)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(BitConverter.GetBytes(training.Length));
        hash.AppendData(MemoryMarshal.AsBytes(training.AsSpan()));
        hash.AppendData(MemoryMarshal.AsBytes(validation.AsSpan()));
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static string TokenizerHash(ITokenizer tokenizer)
    {
        using var files = new MemoryStream();
        if (tokenizer is BytePairTokenizer pairs)
        {
            pairs.WriteVocabulary(files);
            pairs.WriteMerges(files);
        }

        return Convert.ToHexStringLower(SHA256.HashData(files.ToArray()));
    }

    private static void Recognise(string path) => OpenFile(path).File.Dispose();

    private static (TensorFile File, TokenManifest Manifest) OpenFile(string path)
    {
        TensorFile file = TensorFile.Open(path, What, "file of tokens");
        try
        {
            if (file.Metadata.GetValueOrDefault(FormatKey) != Format || !file.Metadata.TryGetValue(ManifestKey, out string? json))
                throw new UserException($"{What}: {path} holds tensors, but no tokens of this program.");
            TokenManifest manifest = JsonSerializer.Deserialize<TokenManifest>(json, JsonSerializerOptions.Strict) ?? throw new JsonException("the manifest is null.");
            bool isWhole = file.Entries.Count == 2 && (string[])[TrainingTensor, ValidationTensor] is var names
                && names.All(name => file.Entries.TryGetValue(name, out TensorFile.Entry? entry) && entry is { Type: TorchSharp.torch.ScalarType.Int16, Shape: [> 0] });
            return isWhole ? (file, manifest) : throw new UserException($"{What}: {path} is damaged: it lacks training or validation tokens.");
        }
        catch (JsonException e)
        {
            file.Dispose();
            throw new UserException($"{What}: {path} is a file of tokens with an impossible manifest: {e.Message}", e);
        }
        catch
        {
            file.Dispose();
            throw;
        }
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

/// <summary>What a file of tokens was made from.</summary>
/// <param name="Name">The text, for people.</param>
/// <param name="Bytes">Its size.</param>
/// <param name="TextHash">SHA-256 of the text.</param>
/// <param name="Tokenizer">The tokeniser.</param>
/// <param name="TokenizerHash">SHA-256 of the vocabulary and the merges.</param>
/// <param name="VocabularySize">Number of different tokens.</param>
/// <param name="Documents">Documents in all.</param>
/// <param name="ValidationDocuments">Documents for validation.</param>
/// <param name="Fingerprint">SHA-256 over all tokens, as <see cref="Corpus.Fingerprint"/>.</param>
public sealed record TokenManifest(
    string Name, long Bytes, string TextHash, TokenizerDescription Tokenizer, string TokenizerHash, int VocabularySize, int Documents, int ValidationDocuments, string Fingerprint);

/// <summary>Which text a run is trained on, and how it is made into tokens.</summary>
/// <param name="Files">Full paths of the text files; none for the .NET API documentation.</param>
/// <param name="Name">What the text is, for people.</param>
/// <param name="Fingerprint">As <see cref="Corpus.Fingerprint"/>.</param>
/// <param name="Tokenizer">The tokeniser.</param>
/// <param name="Tokens">Full path of the file of tokens, in place of text files.</param>
public sealed record CorpusDescription(string[] Files, string Name, string Fingerprint, TokenizerDescription Tokenizer, string? Tokens = null)
{
    /// <summary>The text as tokens.</summary>
    /// <exception cref="UserException">A file cannot be read, or is not what it was.</exception>
    public Corpus Load(ITokenizer tokenizer) => Tokens is null ? Corpus.Load(Files, tokenizer) : Corpus.Open(Tokens).Corpus;
}
