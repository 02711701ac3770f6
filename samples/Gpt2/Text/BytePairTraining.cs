using System.Runtime.InteropServices;

namespace Gpt2.Text;

/// <summary>
/// Learns a vocabulary for <see cref="BytePairTokenizer"/>: the words of a corpus begin as bytes, and the pair of adjacent tokens that
/// is most frequent over all words becomes a token, again and again. Of equally frequent pairs the one with the lower ids is taken.
/// </summary>
public sealed class BytePairTraining
{
    private readonly Dictionary<byte[], long> _counts = new(BytesComparer.Instance);

    /// <summary>Counts the words of a text.</summary>
    public void Add(ReadOnlySpan<byte> text)
    {
        var counts = _counts.GetAlternateLookup<ReadOnlySpan<byte>>();
        while (!text.IsEmpty)
        {
            ReadOnlySpan<byte> word = text[..WordSplitter.FirstWord(text)];
            CollectionsMarshal.GetValueRefOrAddDefault(counts, word, out _)++;
            text = text[word.Length..];
        }
    }

    /// <summary>The tokeniser with as many tokens, or fewer where no pair is left that occurs twice.</summary>
    /// <param name="vocabularySize">Tokens, with the 256 bytes and the end of text.</param>
    /// <exception cref="ArgumentOutOfRangeException">There are fewer than 257.</exception>
    public BytePairTokenizer Learn(int vocabularySize)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(vocabularySize, 257);
        string[] letters = [.. Enumerable.Range(0, 256).Select(b => ByteAlphabet.Letter((byte)b).ToString()).Order(StringComparer.Ordinal)];
        List<string> tokens = [.. letters];
        Dictionary<string, int> ids = letters.Index().ToDictionary(letter => letter.Item, letter => letter.Index);
        int[] idOfByte = [.. Enumerable.Range(0, 256).Select(b => Array.IndexOf(letters, ByteAlphabet.Letter((byte)b).ToString()))];

        // Each different word as tokens, and for each pair how often it occurs and in which words. A pair that has gone stays listed there.
        (int[] Tokens, long Count)[] words =
            [.. _counts.OrderBy(word => word.Key, Comparer<byte[]>.Create((x, y) => x.AsSpan().SequenceCompareTo(y))).Select(word => (Array.ConvertAll(word.Key, b => idOfByte[b]), word.Value))];
        var pairs = new Dictionary<(int, int), (long Count, HashSet<int> Words)>();
        for (int i = 0; i < words.Length; i++) CountPairs(i, words[i].Count);
        var queue = new PriorityQueue<(int, int), (long Falling, (int, int) Pair)>(pairs.Select(pair => (pair.Key, (-pair.Value.Count, pair.Key))));

        var merges = new List<(string, string)>();
        while (tokens.Count + 1 < vocabularySize && queue.TryDequeue(out (int Left, int Right) pair, out var priority))
        {
            (long count, HashSet<int> places) = pairs[pair];
            if (count < 2) continue;
            if (count != -priority.Falling)
            {
                queue.Enqueue(pair, (-count, pair)); // it has become rarer since
                continue;
            }

            // Two pairs may make the same token: "ab" + "c", "a" + "bc".
            string token = tokens[pair.Left] + tokens[pair.Right];
            if (ids.TryAdd(token, tokens.Count)) tokens.Add(token);
            int joined = ids[token];
            merges.Add((tokens[pair.Left], tokens[pair.Right]));
            var changed = new HashSet<(int, int)>();
            foreach (int i in places.ToArray())
            {
                CountPairs(i, -words[i].Count);
                words[i].Tokens = Join(words[i].Tokens, pair, joined);
                CountPairs(i, words[i].Count, changed);
            }

            // Only pairs with the new token can have become more frequent.
            foreach ((int, int) candidate in changed.Where(p => p.Item1 == joined || p.Item2 == joined)) queue.Enqueue(candidate, (-pairs[candidate].Count, candidate));
        }

        return BytePairTokenizer.FromMerges(merges);

        void CountPairs(int word, long count, HashSet<(int, int)>? seen = null)
        {
            int[] run = words[word].Tokens;
            for (int i = 0; i + 1 < run.Length; i++)
            {
                ref (long Count, HashSet<int> Words) entry = ref CollectionsMarshal.GetValueRefOrAddDefault(pairs, (run[i], run[i + 1]), out _);
                entry = (entry.Count + count, entry.Words ?? []);
                if (count > 0) entry.Words.Add(word);
                seen?.Add((run[i], run[i + 1]));
            }
        }
    }

    private static int[] Join(int[] tokens, (int Left, int Right) pair, int joined)
    {
        var result = new List<int>(tokens.Length);
        for (int i = 0; i < tokens.Length; i++)
        {
            bool isPair = i + 1 < tokens.Length && tokens[i] == pair.Left && tokens[i + 1] == pair.Right;
            result.Add(isPair ? joined : tokens[i]);
            if (isPair) i++;
        }

        return [.. result];
    }
}
