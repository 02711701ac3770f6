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

    private static string Decode(ushort[] tokens) => Encoding.UTF8.GetString(Array.ConvertAll(tokens, token => (byte)token));
}
