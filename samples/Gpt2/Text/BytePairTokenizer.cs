using System.Text.Json;
using System.Text;

namespace Gpt2.Text;

/// <summary>
/// GPT-2's byte-level byte-pair encoding. The text is cut into words by a fixed pattern; the UTF-8 bytes of a word are
/// written in a 256-letter alphabet of printable characters; then the adjacent pair that stands first in the merge list
/// is joined, again and again, until no listed pair is left.
/// </summary>
public sealed class BytePairTokenizer : ITokenizer
{
    /// <summary>Name of this tokeniser in a checkpoint.</summary>
    public const string Kind = "bpe";

    private const string EndOfTextToken = "<|endoftext|>";
    private const int MaximumCachedWords = 1 << 18;

    private readonly Dictionary<string, int> _ids;
    private readonly Dictionary<(string Left, string Right), int> _ranks;
    private readonly byte[][] _bytes;
    private readonly Dictionary<string, int[]> _cache = [];

    private BytePairTokenizer(Dictionary<string, int> ids, Dictionary<(string, string), int> ranks, byte[][] bytes)
    {
        _ids = ids;
        _ranks = ranks;
        _bytes = bytes;
    }

    /// <inheritdoc/>
    public int VocabularySize => _bytes.Length;

    /// <inheritdoc/>
    public int? EndOfText => _ids.TryGetValue(EndOfTextToken, out int id) ? id : null;

    /// <summary>Reads <c>vocab.json</c> (token to id) and <c>merges.txt</c> (one pair a line, best first).</summary>
    /// <exception cref="UserException">A file is missing, is not of that form, or the two do not belong together.</exception>
    public static BytePairTokenizer Load(string vocabularyPath, string mergesPath)
    {
        Dictionary<string, int> ids = ReadVocabulary(vocabularyPath);
        Dictionary<(string, string), int> ranks = ReadMerges(mergesPath, ids);

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

        return new BytePairTokenizer(ids, ranks, bytes);
    }

    /// <inheritdoc/>
    public int[] Encode(string text)
    {
        var tokens = new List<int>(text.Length / 3);
        foreach (string word in WordSplitter.Split(text))
        {
            if (!_cache.TryGetValue(word, out int[]? encoded))
            {
                encoded = EncodeWord(word);
                if (_cache.Count < MaximumCachedWords) _cache.Add(word, encoded);
            }

            tokens.AddRange(encoded);
        }

        return [.. tokens];
    }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Bytes(int token) => _bytes[token];

    private int[] EncodeWord(string word)
    {
        var parts = Encoding.UTF8.GetBytes(word).Select(b => ByteAlphabet.Letter(b).ToString()).ToList();
        while (parts.Count > 1 && BestPair(parts) is { } best)
        {
            // Join every occurrence of the pair, from left to right.
            var merged = new List<string>(parts.Count);
            for (int i = 0; i < parts.Count; i++)
            {
                bool isPair = i + 1 < parts.Count && parts[i] == best.Left && parts[i + 1] == best.Right;
                merged.Add(isPair ? parts[i] + parts[++i] : parts[i]);
            }

            parts = merged;
        }

        return [.. parts.Select(part => _ids[part])];
    }

    private (string Left, string Right)? BestPair(List<string> parts)
    {
        (string, string)? best = null;
        int bestRank = int.MaxValue;
        for (int i = 0; i + 1 < parts.Count; i++)
        {
            (string, string) pair = (parts[i], parts[i + 1]);
            if (_ranks.TryGetValue(pair, out int rank) && rank < bestRank) (best, bestRank) = (pair, rank);
        }

        return best;
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

    private static Dictionary<(string, string), int> ReadMerges(string path, Dictionary<string, int> ids)
    {
        string[] lines;
        try
        {
            using var reader = new StreamReader(RegularFile.OpenRead(path, "--merges"));
            lines = reader.ReadToEnd().ReplaceLineEndings("\n").TrimEnd('\n').Split('\n');
        }
        catch (IOException e)
        {
            throw new UserException($"--merges: cannot read {path}: {e.Message}", e);
        }

        var ranks = new Dictionary<(string, string), int>(lines.Length);
        for (int i = 0; i < lines.Length; i++)
        {
            if (lines[i].Length == 0 || (i == 0 && lines[i].StartsWith("#version", StringComparison.Ordinal))) continue;
            if (lines[i].Split(' ') is not [var left, var right] || left.Length == 0 || right.Length == 0)
                throw new UserException($"{path}, line {i + 1}: expected two tokens with a space between, found '{lines[i]}'.");
            if (!ids.ContainsKey(left + right))
                throw new UserException($"{path}, line {i + 1}: '{left + right}' is not in the vocabulary; the files do not belong together.");
            ranks.TryAdd((left, right), ranks.Count);
        }

        return ranks;
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
