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
