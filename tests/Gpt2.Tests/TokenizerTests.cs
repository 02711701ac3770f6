using System.Text;
using System.Text.Json;
using Gpt2.Text;

namespace Gpt2.Tests;

public sealed class TokenizerTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Byte_alphabet_is_gpt2s()
    {
        Assert.Equal('Ġ', ByteAlphabet.Letter((byte)' '));
        Assert.Equal('Ċ', ByteAlphabet.Letter((byte)'\n'));
        Assert.Equal('A', ByteAlphabet.Letter((byte)'A'));
        Assert.Equal('\u0143', ByteAlphabet.Letter(0xAD));
        char[] letters = [.. Enumerable.Range(0, 256).Select(b => ByteAlphabet.Letter((byte)b))];
        Assert.Equal(256, letters.Distinct().Count());
        Assert.DoesNotContain(letters, letter => char.IsWhiteSpace(letter) || char.IsControl(letter));
        Assert.Equal(Enumerable.Range(0, 256).Select(b => (byte)b), ByteAlphabet.Decode(new string(letters)));
    }

    [Fact]
    public void Merges_are_applied_best_first_not_left_first()
    {
        // h e l l o -> he l l o -> he l lo -> hel lo; from the left alone it would be hel l o.
        BytePairTokenizer tokenizer = Create("h e", "l o", "e l", "he l", "Ġ w");
        Assert.Equal(["hel", "lo"], Pieces(tokenizer, "hello"));
        Assert.Equal(["hel", "p"], Pieces(tokenizer, "help"));
        Assert.Equal(["el", "f", " w", "o"], Pieces(tokenizer, "elf wo"));
    }

    [Fact]
    public void Every_occurrence_of_a_pair_is_merged_and_overlaps_go_left()
    {
        BytePairTokenizer tokenizer = Create("a a", "aa b");
        Assert.Equal(["aa", "a"], Pieces(tokenizer, "aaa"));
        Assert.Equal(["aa", "aab", "aab"], Pieces(tokenizer, "aaaabaab"));
    }

    [Fact]
    public void Words_are_never_joined()
    {
        BytePairTokenizer tokenizer = Create("a Ġ", "a b");
        Assert.Equal(["a", " ", "ab"], Pieces(tokenizer, "a ab"));
    }

    [Fact]
    public void Any_text_comes_back()
    {
        ITokenizer[] tokenizers = [new ByteTokenizer(), Create("t h", "th e", "Ġ the", "Ã ¤")];
        var random = new Random(2);
        for (int i = 0; i < 300; i++)
        {
            string text = string.Concat(Enumerable.Range(0, random.Next(30)).Select(_ => RandomRune(random).ToString())) + " the bäthe";
            foreach (ITokenizer tokenizer in tokenizers)
            {
                int[] tokens = tokenizer.Encode(text);
                Assert.All(tokens, token => Assert.InRange(token, 0, tokenizer.VocabularySize - 1));
                Assert.Equal(text, Encoding.UTF8.GetString([.. tokens.SelectMany(token => tokenizer.Bytes(token).ToArray())]));
            }
        }
    }

    [Fact]
    public void End_of_text_is_found_and_its_spelling_in_a_text_is_not_it()
    {
        BytePairTokenizer tokenizer = Create("a b");
        Assert.Equal(tokenizer.VocabularySize - 1, tokenizer.EndOfText);
        Assert.DoesNotContain(tokenizer.EndOfText!.Value, tokenizer.Encode("<|endoftext|>"));
        Assert.Null(new ByteTokenizer().EndOfText);
    }

    [Fact]
    public void Wrong_files_are_refused()
    {
        string vocabulary = WriteVocabulary("ab");
        string merges = _folder.Write("merges.txt", "#version: 0.2\na b\n");
        Assert.Contains("--vocab: there is no file", Refusal(_folder.File("none.json"), merges));
        Assert.Contains("--merges: there is no file", Refusal(vocabulary, _folder.File("none.txt")));
        Assert.Contains("not a JSON object", Refusal(_folder.Write("text.json", "hello"), merges));
        Assert.Contains("no token for byte", Refusal(_folder.Write("small.json", "{\"a\":0,\"b\":1,\"ab\":2}"), merges));
        Assert.Contains("the ids must be 0 to 1", Refusal(_folder.Write("ids.json", "{\"a\":0,\"b\":7}"), _folder.Write("empty.txt", "")));
        Assert.Contains("line 2", Refusal(vocabulary, _folder.Write("three.txt", "#version: 0.2\na b c\n")));
        Assert.Contains("do not belong together", Refusal(vocabulary, _folder.Write("other.txt", "x y\n")));
    }

    [Fact]
    public void A_pair_is_joined_everywhere_before_the_pairs_that_arise()
    {
        // "ab a" stands before "a b"; yet both "a b" of "abab" are joined first, and then there is no "ab a" left.
        Assert.Equal(["ab", "ab"], Pieces(Create("ab a", "a b"), "abab"));
        Assert.Equal(["aba", "c"], Pieces(Create("ab a", "a b"), "abac"));
    }

    [Fact]
    public void Encodes_as_the_published_algorithm_on_random_merges()
    {
        var random = new Random(4);
        for (int round = 0; round < 60; round++)
        {
            var tokens = new List<string> { "a", "b", "c", "Ġ" };
            var merges = new List<(string Left, string Right)>();
            for (int i = 0; i < 12; i++)
            {
                (string Left, string Right) pair = (tokens[random.Next(tokens.Count)], tokens[random.Next(tokens.Count)]);
                if (tokens.Contains(pair.Left + pair.Right)) continue;
                merges.Add(pair);
                tokens.Add(pair.Left + pair.Right);
            }

            // In any order: also such as no training gives.
            (string Left, string Right)[] shuffled = [.. merges.OrderBy(_ => random.Next())];
            BytePairTokenizer tokenizer = BytePairTokenizer.FromMerges(shuffled);
            for (int i = 0; i < 40; i++)
            {
                string word = new(random.GetItems<char>("abc", random.Next(1, 14)));
                Assert.Equal(Published(word, shuffled), tokenizer.Encode(word).Select(token => ByteAlphabet.Encode(tokenizer.Bytes(token).ToArray())));
            }
        }
    }

    [Fact]
    public void Any_bytes_come_back()
    {
        var random = new Random(7);
        BytePairTokenizer tokenizer = BytePairTokenizer.FromMerges([("a", "b"), ("Ã", "¤"), ("Ġ", "a"), ("ÿ", "ÿ")]);
        for (int i = 0; i < 300; i++)
        {
            byte[] bytes = random.GetItems<byte>([.. "ab ä'\n"u8, 0xFF, 0x80, 0xF0, 0, 0xC3], random.Next(60));
            Assert.Equal(bytes, tokenizer.Encode(bytes).SelectMany(token => tokenizer.Bytes(token).ToArray()));
        }
    }

    [Fact]
    public void A_word_of_a_million_letters_takes_no_square_of_them()
    {
        BytePairTokenizer tokenizer = BytePairTokenizer.FromMerges([("a", "a"), ("aa", "aa"), ("aaaa", "aaaa")]);
        Assert.Equal(125_000, tokenizer.Encode(new string('a', 1_000_000)).Length);
    }

    [Fact]
    public void Ids_are_in_gpt2s_order()
    {
        // In the published vocab.json "!" is 0, "~" 93, "¡" 94, the byte 0 ("Ā") 188, the space ("Ġ") 220, the first merge, "Ġ t", 256, and "Ġ a" 257.
        BytePairTokenizer tokenizer = BytePairTokenizer.FromMerges([("Ġ", "t"), ("Ġ", "a")]);
        Assert.Equal([0, 93, 94, 188, 220, 198], (int[])[.. tokenizer.Encode("!"), .. tokenizer.Encode("~"), .. tokenizer.Encode([0xA1]), .. tokenizer.Encode([0]), .. tokenizer.Encode(" "), .. tokenizer.Encode("\n")]);
        Assert.Equal([256, 257], tokenizer.Encode(" t a"));
        Assert.Equal((258, 259), (tokenizer.EndOfText, tokenizer.VocabularySize));
    }

    [Fact]
    public void The_files_written_are_those_read()
    {
        BytePairTokenizer tokenizer = BytePairTokenizer.FromMerges([("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("\"", "<")]);
        string vocabulary = _folder.File("written.json"), merges = _folder.File("written.txt");
        using (FileStream stream = File.Create(vocabulary)) tokenizer.WriteVocabulary(stream);
        using (FileStream stream = File.Create(merges)) tokenizer.WriteMerges(stream);
        Assert.Equal("#version: 0.2\nĠ t\nh e\nĠt he\n\" <\n", File.ReadAllText(merges));
        BytePairTokenizer read = BytePairTokenizer.Load(vocabulary, merges);
        const string Text = " the heat \"<x> <|endoftext|>";
        Assert.Equal(tokenizer.Encode(Text), read.Encode(Text));
        Assert.Equal((tokenizer.EndOfText, tokenizer.VocabularySize), (read.EndOfText, read.VocabularySize));
    }

    [Fact]
    public void Training_joins_the_most_frequent_pair_first()
    {
        // Sennrich et al. 2016, "low" 5 times, "lower" 2, "newest" 6, "widest" 3 (each here with its space): es 9, est 9; then the pairs of 8, 7 and 6.
        var training = new BytePairTraining();
        foreach ((string word, int count) in ((string, int)[])[(" low", 5), (" lower", 2), (" newest", 6), (" widest", 3)])
            training.Add(Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat(word, count))));
        BytePairTokenizer tokenizer = training.Learn(256 + 4 + 1);
        Assert.Equal(["es", "est"], Enumerable.Range(256, 2).Select(token => Encoding.UTF8.GetString(tokenizer.Bytes(token))));
        Assert.Equal(261, tokenizer.VocabularySize);
    }

    [Fact]
    public void Training_equals_the_definition_on_random_text()
    {
        var random = new Random(12);
        string text = string.Join(' ', Enumerable.Range(0, 400).Select(_ => new string(random.GetItems<char>("aabcd", random.Next(1, 7)))));
        var training = new BytePairTraining();
        training.Add(Encoding.UTF8.GetBytes(text));
        BytePairTokenizer tokenizer = training.Learn(256 + 40 + 1);

        // Recount everything for every merge.
        List<int[]> words = [.. Split(text).Select(word => BytePairTokenizer.FromMerges([]).Encode(word))];
        for (int token = 256; token < 296; token++)
        {
            var best = words.SelectMany(word => word.Zip(word.Skip(1))).CountBy(pair => pair).OrderByDescending(pair => pair.Value).ThenBy(pair => pair.Key).First();
            Assert.Equal([.. tokenizer.Bytes(best.Key.First), .. tokenizer.Bytes(best.Key.Second)], tokenizer.Bytes(token).ToArray());
            words = [.. words.Select(word => Joined(word, best.Key, token))];
        }

        Assert.Equal(words.SelectMany(word => word), tokenizer.Encode(text));
        Assert.True(new BytePairTraining().Learn(1000).VocabularySize == 257, "nothing to join");
        Assert.Throws<ArgumentOutOfRangeException>(() => training.Learn(256));

        static IEnumerable<string> Split(string text)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(text);
            for (int start = 0, length; start < bytes.Length; start += length)
            {
                length = WordSplitter.FirstWord(bytes.AsSpan(start));
                yield return Encoding.UTF8.GetString(bytes, start, length);
            }
        }

        static int[] Joined(int[] word, (int First, int Second) pair, int token)
        {
            var joined = new List<int>();
            for (int i = 0; i < word.Length; i++)
            {
                bool isPair = i + 1 < word.Length && (word[i], word[i + 1]) == pair;
                joined.Add(isPair ? token : word[i]);
                if (isPair) i++;
            }

            return [.. joined];
        }
    }

    // The loop of the published encoder: the pair of the lowest rank, joined wherever it stands, until there is none.
    private static List<string> Published(string word, (string Left, string Right)[] merges)
    {
        List<string> parts = [.. word.Select(letter => letter.ToString())];
        while (true)
        {
            int rank = Enumerable.Range(0, parts.Count - 1).Select(i => Array.IndexOf(merges, (parts[i], parts[i + 1]))).Where(r => r >= 0).DefaultIfEmpty(-1).Min();
            if (rank < 0) return parts;
            var joined = new List<string>();
            for (int i = 0; i < parts.Count; i++)
            {
                bool isPair = i + 1 < parts.Count && (parts[i], parts[i + 1]) == merges[rank];
                joined.Add(isPair ? parts[i] + parts[++i] : parts[i]);
            }

            parts = joined;
        }
    }

    private static string Refusal(string vocabulary, string merges) =>
        Assert.Throws<UserException>(() => BytePairTokenizer.Load(vocabulary, merges)).Message;

    private static string[] Pieces(ITokenizer tokenizer, string text) =>
        [.. tokenizer.Encode(text).Select(token => Encoding.UTF8.GetString(tokenizer.Bytes(token)))];

    private static Rune RandomRune(Random random)
    {
        int[] limits = [0x80, 0x800, 0x10000, 0x110000];
        while (true)
        {
            if (Rune.IsValid(random.Next(limits[random.Next(limits.Length)]) is var value ? value : 0)) return new Rune(value);
        }
    }

    private BytePairTokenizer Create(params string[] merges)
    {
        string vocabulary = WriteVocabulary([.. merges.Select(merge => merge.Replace(" ", "", StringComparison.Ordinal))]);
        return BytePairTokenizer.Load(vocabulary, _folder.Write("m.txt", "#version: 0.2\n" + string.Join('\n', merges) + "\n"));
    }

    private string WriteVocabulary(params string[] merged)
    {
        IEnumerable<string> tokens = Enumerable.Range(0, 256).Select(b => ByteAlphabet.Letter((byte)b).ToString()).Concat(merged).Append("<|endoftext|>");
        return _folder.Write("v.json", JsonSerializer.Serialize(tokens.Select((token, id) => (token, id)).ToDictionary(x => x.token, x => x.id)));
    }
}
