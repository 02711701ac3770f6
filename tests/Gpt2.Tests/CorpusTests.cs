using System.Text;
using System.Xml;
using Gpt2.Text;

namespace Gpt2.Tests;

public sealed class CorpusTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Documentation_becomes_prose()
    {
        const string Xml = """
            <?xml version="1.0" encoding="utf-8"?>
            <doc>
              <assembly><name>System.Sample</name></assembly>
              <members>
                <member name="M:System.IO.Stream.Read(System.Byte[],System.Int32)">
                  <summary>Reads from the <see cref="T:System.IO.Stream" /> or
                    throws; see <see cref="M:System.IO.Stream.Write(System.Byte[])"/> and <see cref="P:System.Collections.Generic.List`1.Count">its count</see>.
                    <para>A &lt; B &amp; C.</para></summary>
                  <typeparam name="T" />
                  <param name="count">At most <paramref name="count" /> bytes, never <see langword="null" />.</param>
                  <returns><c>true</c> if read.</returns>
                  <exception cref="T:System.ArgumentNullException"><paramref name="buffer" /> is null.</exception>
                </member>
                <member name="T:System.Empty" />
                <member name="T:System.Second"><summary>Second<br/>line.</summary></member>
              </members>
            </doc>
            """;
        string text = XmlDocumentation.ReadText(new MemoryStream(Encoding.UTF8.GetBytes(Xml)));
        Assert.Equal(
            """
            Reads from the Stream or throws; see Stream.Write and its count. A < B & C.
            count: At most count bytes, never null.
            true if read.
            ArgumentNullException: buffer is null.

            Second line.


            """.ReplaceLineEndings("\n"),
            text);
    }

    [Theory]
    [InlineData("T:System.Collections.Generic.List`1", "List")]
    [InlineData("M:System.String.#ctor(System.Char[])", "String")]
    [InlineData("M:System.Linq.Enumerable.Select``2(System.Func{``0,``1})", "Enumerable.Select")]
    [InlineData("N:System.Text", "System.Text")]
    [InlineData("F:System.Int32.MaxValue", "Int32.MaxValue")]
    [InlineData("Overload", "Overload")]
    [InlineData("", "")]
    public void References_become_names(string id, string name) => Assert.Equal(name, XmlDocumentation.ReferredName(id));

    [Fact]
    public void Malformed_documentation_is_refused()
    {
        Assert.Throws<XmlException>(() => XmlDocumentation.ReadText(new MemoryStream("<doc><members>"u8.ToArray())));
    }

    [Fact]
    public void The_newest_reference_pack_is_found()
    {
        string root = _folder.File("dotnet");
        foreach (string version in (string[])["9.0.4", "10.0.1", "10.0.0"])
            _folder.Write($"dotnet/packs/Microsoft.NETCore.App.Ref/{version}/ref/net{version[..^2]}/System.Runtime.xml", "<doc/>");

        string file = Assert.Single(ReferencePackCorpus.Locate([_folder.File("nothing"), root]));
        Assert.Contains(Path.Combine("Microsoft.NETCore.App.Ref", "10.0.1", "ref"), file);
    }

    [Fact]
    public void A_missing_reference_pack_says_where_it_looked_and_what_to_do()
    {
        string message = Assert.Throws<UserException>(() => ReferencePackCorpus.Locate(["/no/dotnet"])).Message;
        Assert.Contains("/no/dotnet", message);
        Assert.Contains("DOTNET_ROOT", message);
        Assert.Contains("--data", message);
    }

    [Fact]
    public void Unreadable_documentation_is_refused() =>
        Assert.Contains("missing.xml", Assert.Throws<UserException>(() => ReferencePackCorpus.ReadText(_folder.File("missing.xml"))).Message);

    [Fact]
    public void This_machines_own_documentation_is_real_english()
    {
        string file = ReferencePackCorpus.Locate(DotnetRoot.Candidates()).Single(path => Path.GetFileName(path) == "System.Collections.xml");
        string text = ReferencePackCorpus.ReadText(file);
        Assert.True(text.Length > 50_000);
        Assert.Contains("Removes all objects from the", text);
        Assert.DoesNotContain("<see", text);
        Assert.DoesNotContain("  ", text);
    }

    [Fact]
    public void The_end_of_each_document_validates()
    {
        string first = new('a', 100), second = new('b', 200);
        Corpus corpus = Corpus.FromDocuments([first, second], new ByteTokenizer(), "test");
        Assert.Equal(new string('a', 95) + new string('b', 190), Decode(corpus.Training));
        Assert.Equal(new string('a', 5) + new string('b', 10), Decode(corpus.Validation));
    }

    [Fact]
    public void The_fingerprint_follows_the_tokens()
    {
        Corpus Load(string text) => Corpus.FromDocuments([text], new ByteTokenizer(), "test");
        Assert.Equal(Load("some text").Fingerprint, Load("some text").Fingerprint);
        Assert.NotEqual(Load("some text").Fingerprint, Load("some test").Fingerprint);

        // 19 + 1 and 20 + 0 of the same letter.
        Corpus split = Load(new string('a', 20)), whole = Corpus.FromDocuments([new string('a', 10), new string('a', 10)], new ByteTokenizer(), "test");
        Assert.NotEqual(split.Fingerprint, whole.Fingerprint);
    }

    [Fact]
    public void Files_are_read_as_utf8_and_others_are_refused()
    {
        string good = _folder.Write("good.txt", "grüße");
        Assert.Equal("grüße", Decode(Corpus.Load([good], new ByteTokenizer()).Training));

        string bad = _folder.File("bad.bin");
        File.WriteAllBytes(bad, [0x61, 0xFF, 0xFE]);
        Assert.Contains("is not UTF-8", Assert.Throws<UserException>(() => Corpus.Load([bad], new ByteTokenizer())).Message);
    }

    [Fact]
    public void A_file_of_tokens_is_split_by_document_and_says_what_it_was_made_from()
    {
        string text = _folder.Write("text.txt", string.Join("<|endoftext|>", Enumerable.Range(0, 45).Select(i => $"document {i};")));
        string tokens = _folder.File("text.tokens");
        TokenManifest made = Corpus.Encode(tokens, [text], new TokenizerDescription(ByteTokenizer.Kind));
        Assert.Equal((45, 2, 256, "text.txt"), (made.Documents, made.ValidationDocuments, made.VocabularySize, made.Name));
        Assert.Equal(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(text))), made.TextHash);

        (Corpus corpus, TokenManifest read, _) = Corpus.Open(tokens);
        using Corpus disposed = corpus;
        Assert.Equal(made, read);
        Assert.Equal("document 19;document 39;", Decode(corpus.Validation));
        Assert.Equal(string.Concat(Enumerable.Range(0, 45).Where(i => i is not (19 or 39)).Select(i => $"document {i};")), Decode(corpus.Training));
        Assert.Equal("cument 1", Encoding.UTF8.GetString(Array.ConvertAll(corpus.Training.Read(13, 8), token => (byte)token)));
    }

    [Fact]
    public void Of_few_documents_the_last_is_for_validation_and_of_a_single_one_its_end()
    {
        string tokens = _folder.File("t");
        Corpus.Encode(tokens, [_folder.Write("a.txt", "aaa"), _folder.Write("b.txt", "bb<|endoftext|>")], new TokenizerDescription(ByteTokenizer.Kind));
        using Corpus corpus = Corpus.Open(tokens).Corpus;
        Assert.Equal(("aaa", "bb"), (Decode(corpus.Training), Decode(corpus.Validation)));

        TokenManifest alone = Corpus.Encode(tokens, [_folder.Write("a.txt", new string('a', 38) + "bb")], new TokenizerDescription(ByteTokenizer.Kind));
        using Corpus split = Corpus.Open(tokens).Corpus;
        Assert.Equal((1, new string('a', 38), "bb"), (alone.Documents, Decode(split.Training), Decode(split.Validation)));
        Assert.Contains("at least two", Assert.Throws<UserException>(() => Corpus.Encode(tokens, [_folder.Write("a.txt", "a")], new TokenizerDescription(ByteTokenizer.Kind))).Message);
    }

    [Fact]
    public void A_file_of_tokens_with_another_tokeniser_or_damage_is_refused()
    {
        string vocabulary = _folder.File("v.json"), merges = _folder.File("m.txt"), text = _folder.Write("text.txt", "abab<|endoftext|>ab"), tokens = _folder.File("t");
        WriteTokenizer(("a", "b"));
        var description = new TokenizerDescription(BytePairTokenizer.Kind, vocabulary, merges);
        Corpus.Encode(tokens, [text], description);
        using (Corpus corpus = Corpus.Open(tokens).Corpus) Assert.Equal([256, 256, 257], corpus.Training.Read(0, 3));
        byte[] good = File.ReadAllBytes(tokens);

        WriteTokenizer(("b", "a"));
        Assert.Contains("with another tokeniser", Assert.Throws<UserException>(() => Corpus.Open(tokens)).Message);
        WriteTokenizer(("a", "b"));

        // A token beyond the vocabulary, a part of the file, another kind of file.
        good[^1] = 0xFF;
        File.WriteAllBytes(tokens, good);
        using (Corpus corpus = Corpus.Open(tokens).Corpus)
            Assert.Contains("the file is damaged", Assert.Throws<UserException>(() => corpus.Validation.Read(0, (int)corpus.Validation.Length)).Message);
        File.WriteAllBytes(tokens, good[..^1]);
        Assert.StartsWith($"--tokens: {tokens} is not a file of tokens, or is damaged", Assert.Throws<UserException>(() => Corpus.Open(tokens)).Message);
        File.WriteAllText(tokens, "a document");
        Assert.Throws<UserException>(() => Corpus.Encode(tokens, [text], description));
        Assert.Equal("a document", File.ReadAllText(tokens));

        void WriteTokenizer((string, string) merge)
        {
            BytePairTokenizer tokenizer = BytePairTokenizer.FromMerges([merge]);
            using (FileStream stream = File.Create(vocabulary)) tokenizer.WriteVocabulary(stream);
            using (FileStream stream = File.Create(merges)) tokenizer.WriteMerges(stream);
        }
    }

    private static string Decode(TokenSequence tokens) => Encoding.UTF8.GetString(Array.ConvertAll(tokens.Read(0, (int)tokens.Length), token => (byte)token));
}
