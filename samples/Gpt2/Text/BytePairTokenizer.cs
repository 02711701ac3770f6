using System.Text;
using System.Text.Json;

namespace Gpt2.Text;

/// <summary>
/// GPT-2's byte-level byte-pair encoding. The text is cut into words by a fixed pattern (<see cref="WordSplitter"/>). Of the tokens
/// of a word, at first its bytes, the adjacent pair that stands first in the merge list is joined wherever it stands, again and
/// again, until no listed pair is left. In the files a byte is written as a letter of <see cref="ByteAlphabet"/>.
/// </summary>
public sealed class BytePairTokenizer : ITokenizer
{
    /// <summary>Name of this tokeniser in a checkpoint.</summary>
    public const string Kind = "bpe";

    /// <summary>The token between documents, as <c>vocab.json</c> spells it.</summary>
    public const string EndOfTextToken = "<|endoftext|>";

    private const int MaximumCachedWords = 1 << 18, MaximumCachedLength = 64;

    private readonly byte[][] _bytes;
    private readonly int[] _byteTokens = new int[256];
    private readonly Dictionary<(int Left, int Right), (int Rank, int Token)> _merges;
    private readonly Dictionary<byte[], int[]> _cache = new(BytesComparer.Instance);

    private BytePairTokenizer(Dictionary<string, int> ids, byte[][] bytes, Dictionary<(int, int), (int, int)> merges)
    {
        (_bytes, _merges) = (bytes, merges);
        EndOfText = ids.TryGetValue(EndOfTextToken, out int end) ? end : null;
        for (int b = 0; b < 256; b++) _byteTokens[b] = ids[ByteAlphabet.Letter((byte)b).ToString()];
    }

    /// <inheritdoc/>
    public int VocabularySize => _bytes.Length;

    /// <inheritdoc/>
    public int? EndOfText { get; }

    /// <summary>A tokeniser of the bytes, <paramref name="merges"/> and the end of text, with ids in the order of GPT-2's own.</summary>
    /// <param name="merges">Pairs of tokens in the byte alphabet, best first; each is a letter or joined earlier.</param>
    public static BytePairTokenizer FromMerges(IEnumerable<(string Left, string Right)> merges)
    {
        (string Left, string Right)[] pairs = [.. merges];
        IEnumerable<string> letters = Enumerable.Range(0, 256).Select(b => ByteAlphabet.Letter((byte)b)).Order().Select(letter => letter.ToString());
        Dictionary<string, int> ids = [];
        foreach (string token in letters.Concat(pairs.Select(pair => pair.Left + pair.Right)).Append(EndOfTextToken)) ids.TryAdd(token, ids.Count);
        return Create(ids, pairs, "the vocabulary", "the merges");
    }

    /// <summary>Reads <c>vocab.json</c> (token to id) and <c>merges.txt</c> (one pair a line, best first).</summary>
    /// <exception cref="UserException">A file is missing, is not of that form, or the two do not belong together.</exception>
    public static BytePairTokenizer Load(string vocabularyPath, string mergesPath) =>
        Create(ReadVocabulary(vocabularyPath), ReadMerges(mergesPath), vocabularyPath, mergesPath);

    /// <summary>Writes <c>vocab.json</c>.</summary>
    public void WriteVocabulary(Stream stream) =>
        JsonSerializer.Serialize(stream, _bytes.Select((_, token) => KeyValuePair.Create(Spelling(token), token)).ToDictionary());

    /// <summary>Writes <c>merges.txt</c>.</summary>
    public void WriteMerges(Stream stream)
    {
        using var writer = new StreamWriter(stream, leaveOpen: true) { NewLine = "\n" };
        writer.WriteLine("#version: 0.2");
        foreach (((int left, int right), _) in _merges.OrderBy(merge => merge.Value.Rank)) writer.WriteLine($"{Spelling(left)} {Spelling(right)}");
    }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Bytes(int token) => _bytes[token];

    /// <inheritdoc/>
    public int[] Encode(ReadOnlySpan<byte> text)
    {
        var tokens = new List<int>(text.Length / 3);
        var cache = _cache.GetAlternateLookup<ReadOnlySpan<byte>>();
        while (!text.IsEmpty)
        {
            ReadOnlySpan<byte> word = text[..WordSplitter.FirstWord(text)];
            if (!cache.TryGetValue(word, out int[]? encoded))
            {
                encoded = EncodeWord(word);
                if (word.Length <= MaximumCachedLength && _cache.Count < MaximumCachedWords) cache[word] = encoded;
            }

            tokens.AddRange(encoded);
            text = text[word.Length..];
        }

        return [.. tokens];
    }

    // A word may be as long as the text ("aaaa..."): its pairs wait in a queue by rank and place, so that no step looks at all of them.
    private int[] EncodeWord(ReadOnlySpan<byte> word)
    {
        const int Joined = -1;
        int[] tokens = new int[word.Length], previous = new int[word.Length], next = new int[word.Length];
        var queue = new PriorityQueue<(int Left, int LeftToken, int RightToken), (int Rank, int Place)>();
        for (int i = 0; i < word.Length; i++) (tokens[i], previous[i], next[i]) = (_byteTokens[word[i]], i - 1, i + 1);
        for (int i = 0; i + 1 < word.Length; i++) Enqueue(i, i + 1);

        var joined = new List<int>();
        while (queue.TryPeek(out _, out (int Rank, int Place) best))
        {
            // Every occurrence of the best pair, from left to right, before the pairs that arise from that.
            joined.Clear();
            while (queue.TryPeek(out var pair, out var priority) && priority.Rank == best.Rank)
            {
                queue.Dequeue();
                int left = pair.Left, right = next[left];
                if (tokens[left] != pair.LeftToken || right >= word.Length || tokens[right] != pair.RightToken) continue;
                (tokens[left], tokens[right]) = (_merges[(pair.LeftToken, pair.RightToken)].Token, Joined);
                next[left] = next[right];
                if (next[left] < word.Length) previous[next[left]] = left;
                joined.Add(left);
            }

            foreach (int i in joined)
            {
                if (previous[i] >= 0) Enqueue(previous[i], i);
                if (next[i] < word.Length) Enqueue(i, next[i]);
            }
        }

        return [.. tokens.Where(token => token != Joined)];

        void Enqueue(int left, int right)
        {
            if (_merges.TryGetValue((tokens[left], tokens[right]), out var merge)) queue.Enqueue((left, tokens[left], tokens[right]), (merge.Rank, left));
        }
    }

    private string Spelling(int token) => token == EndOfText ? EndOfTextToken : ByteAlphabet.Encode(_bytes[token]);

    private static BytePairTokenizer Create(Dictionary<string, int> ids, IReadOnlyList<(string Left, string Right)> merges, string vocabularyPath, string mergesPath)
    {
        var bytes = new byte[ids.Count][];
        foreach ((string token, int id) in ids)
        {
            if (id < 0 || id >= bytes.Length || bytes[id] is not null)
                throw new UserException($"{vocabularyPath}: the ids must be 0 to {ids.Count - 1}, each once; '{token}' has {id}.");
            bytes[id] = token == EndOfTextToken ? Encoding.UTF8.GetBytes(token) : ByteAlphabet.Decode(token)
                ?? throw new UserException($"{vocabularyPath}: token '{token}' has a character outside GPT-2's byte alphabet.");
        }

        for (int b = 0; b < 256; b++)
        {
            if (!ids.ContainsKey(ByteAlphabet.Letter((byte)b).ToString()))
                throw new UserException($"{vocabularyPath}: no token for byte {b}, so that not every text could be encoded.");
        }

        var ranks = new Dictionary<(int, int), (int, int)>(merges.Count);
        foreach ((string left, string right) in merges)
        {
            foreach (string token in (string[])[left, right, left + right])
            {
                if (!ids.ContainsKey(token))
                    throw new UserException($"{mergesPath}, '{left} {right}': '{token}' is not in the vocabulary; the files do not belong together.");
            }

            ranks.TryAdd((ids[left], ids[right]), (ranks.Count, ids[left + right]));
        }

        return new BytePairTokenizer(ids, bytes, ranks);
    }

    private static Dictionary<string, int> ReadVocabulary(string path)
    {
        try
        {
            using FileStream stream = RegularFile.OpenRead(path, "--vocab");
            Dictionary<string, int>? ids = JsonSerializer.Deserialize<Dictionary<string, int>>(stream);
            return ids is { Count: > 0 } ? ids : throw new UserException($"{path}: the vocabulary is empty.");
        }
        catch (JsonException e)
        {
            throw new UserException($"{path}: not a JSON object of tokens and ids: {e.Message}", e);
        }
        catch (IOException e)
        {
            throw new UserException($"--vocab: cannot read {path}: {e.Message}", e);
        }
    }

    private static List<(string Left, string Right)> ReadMerges(string path)
    {
        try
        {
            using var reader = new StreamReader(RegularFile.OpenRead(path, "--merges"));
            var merges = new List<(string, string)>();
            for (int number = 1; reader.ReadLine() is { } line; number++)
            {
                if (line.Length == 0 || (number == 1 && line.StartsWith("#version", StringComparison.Ordinal))) continue;
                if (line.Split(' ') is not [{ Length: > 0 } left, { Length: > 0 } right])
                    throw new UserException($"{path}, line {number}: expected two tokens with a space between, found '{line}'.");
                merges.Add((left, right));
            }

            return merges;
        }
        catch (IOException e)
        {
            throw new UserException($"--merges: cannot read {path}: {e.Message}", e);
        }
    }
}

/// <summary>
/// GPT-2's alphabet: a printable, non-space character for each of the 256 bytes. The printable characters of Latin-1 stand
/// for themselves, the other bytes take, in order, the characters from U+0100 on.
/// </summary>
public static class ByteAlphabet
{
    private static readonly char[] Letters = CreateLetters();
    private static readonly Dictionary<char, byte> BytesByLetter =
        Letters.Select((letter, b) => (letter, b)).ToDictionary(x => x.letter, x => (byte)x.b);

    /// <summary>The character that stands for <paramref name="b"/>.</summary>
    public static char Letter(byte b) => Letters[b];

    /// <summary>The characters that stand for the bytes.</summary>
    public static string Encode(byte[] bytes) => string.Concat(bytes.Select(Letter));

    /// <summary>The bytes that the characters stand for, or null if one of them stands for none.</summary>
    public static byte[]? Decode(string letters)
    {
        var bytes = new byte[letters.Length];
        for (int i = 0; i < letters.Length; i++)
        {
            if (!BytesByLetter.TryGetValue(letters[i], out bytes[i])) return null;
        }

        return bytes;
    }

    private static char[] CreateLetters()
    {
        var letters = new char[256];
        char next = '\u0100';
        for (int b = 0; b < 256; b++)
        {
            bool isPrintable = b is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
            letters[b] = isPrintable ? (char)b : next++;
        }

        return letters;
    }
}

/// <summary>Equality of bytes, for dictionaries of words that are looked up where they stand in a text.</summary>
internal sealed class BytesComparer : IEqualityComparer<byte[]>, IAlternateEqualityComparer<ReadOnlySpan<byte>, byte[]>
{
    internal static readonly BytesComparer Instance = new();

    public bool Equals(byte[]? x, byte[]? y) => x.AsSpan().SequenceEqual(y);

    public bool Equals(ReadOnlySpan<byte> alternate, byte[] other) => alternate.SequenceEqual(other);

    public int GetHashCode(byte[] bytes) => GetHashCode(bytes.AsSpan());

    // Seeded by the runtime: no text can be made to collide.
    public int GetHashCode(ReadOnlySpan<byte> alternate)
    {
        var hash = default(HashCode);
        hash.AddBytes(alternate);
        return hash.ToHashCode();
    }

    public byte[] Create(ReadOnlySpan<byte> alternate) => alternate.ToArray();
}
