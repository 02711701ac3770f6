using AttentionBench.Measuring;
using AttentionBench.Output;
using Gpt2;
using TemporaryFolder = TorchFlash.Testing.TemporaryFolder;

namespace AttentionBench.Tests;

public class TableTests
{
    private static Table Sample()
    {
        var table = new Table("sample", "A title.", new("case"), new("N", "D"), new("ratio", "F2", "x"));
        table.Add("a, \"b\" | c", 4096, new Spread(1.5, 1.25, 2));
        table.Add("nothing", null, null);
        return table;
    }

    [Fact]
    public void MarkdownShowsSpreadsAndGaps() => Assert.Equal(
        """
        A title.

        | case | N | ratio |
        | --- | ---: | ---: |
        | a, "b" \| c | 4096 | 1.50x (1.25-2.00) |
        | nothing | - | - |

        """, Sample().Markdown, ignoreLineEndingDifferences: true);

    [Fact]
    public void CsvHasQuartilesInColumnsOfTheirOwn() => Assert.Equal(
        "table,case,N,ratio,ratio lower quartile,ratio upper quartile\nsample,\"a, \"\"b\"\" | c\",4096,1.5,1.25,2\nsample,nothing,,,,\n", Table.Csv(Sample()));

    [Fact]
    public void CsvOfSeveralTablesHasTheColumnsOfAll()
    {
        var other = new Table("other", "", new("N", "D"), new("ms", "F1"));
        other.Add(1, 2.5);
        string[] lines = Table.Csv(Sample(), other).TrimEnd().Split('\n');
        Assert.Equal("table,case,N,ratio,ratio lower quartile,ratio upper quartile,ms", lines[0]);
        Assert.Equal("other,,1,,,,2.5", lines[^1]);
    }

    [Fact]
    public void JsonKeepsNumbersAsTheyWereMeasured() => Assert.Equal(
        """[{"case":"a, \u0022b\u0022 | c","N":4096,"ratio":{"median":1.5,"lower":1.25,"upper":2}},{"case":"nothing","N":null,"ratio":null}]""", Sample().Json.ToJsonString());

    [Fact]
    public void RowsAreReadBackFromJson()
    {
        Table table = Sample();
        Assert.Equal(["a, \"b\" | c", 4096.0, new Spread(1.5, 1.25, 2)], table.Cells(table.Json[0]!));
        Assert.Equal(["nothing", null, null], table.Cells(table.Json[1]!));
    }

    [Fact]
    public void ARowOfAnotherLengthIsRefused() => Assert.Throws<ArgumentException>(() => Sample().Add("too short"));

    [Fact]
    public void AFileIsReplacedAsAWholeAndNothingIsLeftBeside()
    {
        using var folder = new TemporaryFolder();
        string path = folder["new", "file.csv"];
        OutputFile.Write("--csv", path, "first");
        OutputFile.Write("--csv", path, "second");
        Assert.Equal("second", File.ReadAllText(path));
        Assert.Equal([path], Directory.GetFiles(Path.GetDirectoryName(path)!));
    }

    [Fact]
    public void WhatIsNoFileIsRefusedByName()
    {
        using var folder = new TemporaryFolder();
        Assert.Equal($"--json: {folder.Path} is a folder; name a file.", Assert.Throws<UserException>(() => OutputFile.Check("--json", folder.Path)).Message);
        string link = folder.File("link");
        File.CreateSymbolicLink(link, folder.Touch("target"));
        Assert.Contains("--json: ", Assert.Throws<UserException>(() => OutputFile.Write("--json", link, "x")).Message, StringComparison.Ordinal);
        Assert.Equal("", File.ReadAllText(folder.File("target")));
    }
}
