using System.Text.Json;
using System.Xml.Linq;
using AttentionBench.Cli;
using TemporaryFolder = TorchFlash.Testing.TemporaryFolder;

namespace AttentionBench.Tests;

public class ProgramTests
{
    [Theory]
    [InlineData("--n", "attention", "--n", "0")]
    [InlineData("--n", "attention", "--n", "12", "x")]
    [InlineData("--key-heads", "attention", "--heads", "12", "--key-heads", "5")]
    [InlineData("--window", "attention", "--window", "4", "--n", "9", "--nk", "3")]
    [InlineData("--type", "attention", "--type", "int8")]
    [InlineData("--dropout", "attention", "--dropout", "1.5")]
    [InlineData("--pass", "attention", "--pass", "sideways")]
    [InlineData("--threads", "attention", "--threads", "0")]
    [InlineData("--nonsense", "attention", "--nonsense")]
    [InlineData("--json", "attention", "--n", "8", "--json", "/")]
    [InlineData("--filter", "kernel", "--filter", "no such case")]
    [InlineData("--steps", "gpt2", "--steps", "0")]
    [InlineData("--preset", "gpt2", "--preset", "gpt3")]
    [InlineData("--sections", "report", "--sections", "everything")]
    [InlineData("nowhere.dll", "versus", "nowhere.dll")]
    public void WhatDoesNotFitIsRefusedInOneLineThatNamesTheOption(string name, params string[] arguments)
    {
        (int code, _, string error) = Run(arguments);
        Assert.Equal(1, code);
        Assert.Single(error.TrimEnd('\n').Split('\n'));
        Assert.Contains(name, error, StringComparison.Ordinal);
    }

    [Fact]
    public void EveryVerbHasAHelp()
    {
        string[] verbs = ["attention", "kernel", "calls", "gpt2", "memory", "mixed", "io", "scores", "sparse", "versus", "report"];
        string all = Run("--help").Output;
        Assert.All(verbs, verb => Assert.Contains($"  {verb}", all, StringComparison.Ordinal));
        Assert.All(verbs, verb => Assert.Equal(0, Run(verb, "--help").Code));
        Assert.DoesNotContain("probe", all, StringComparison.Ordinal);
    }

    [Fact]
    public void AttentionWritesItsTablesAsJsonCsvAndPictures()
    {
        using var folder = new TemporaryFolder();
        (int code, string output, string error) = Run(
            "attention", "--n", "16", "32", "--heads", "2", "--causal", "causal", "--repeat", "2", "--no-memory", "--threads", "1",
            "--json", folder.File("a.json"), "--csv", folder.File("a.csv"), "--svg", folder.File("svg"));
        Assert.True(code == 0, error);
        Assert.Contains("| causal | 16 |", output, StringComparison.Ordinal);
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(folder.File("a.json")));
        Assert.NotEmpty(json.RootElement.GetProperty("machine").GetProperty("Processor").GetString()!);
        Assert.Equal("2", json.RootElement.GetProperty("settings").GetProperty("--heads").GetString());
        JsonElement row = json.RootElement.GetProperty("tables").GetProperty("forward")[1];
        Assert.Equal(32, row.GetProperty("N").GetInt32());
        JsonElement ratio = row.GetProperty("sdpa / flash");
        Assert.InRange(ratio.GetProperty("median").GetDouble(), ratio.GetProperty("lower").GetDouble(), ratio.GetProperty("upper").GetDouble());
        string[] csv = File.ReadAllLines(folder.File("a.csv"));
        Assert.Equal(1 + 2 * 2, csv.Length);
        Assert.Contains("sdpa / flash upper quartile", csv[0], StringComparison.Ordinal);
        Assert.All(new[] { "time", "speed-up", "share" }, picture => Assert.All(new[] { "light", "dark" }, theme =>
            XDocument.Load(Path.Combine(folder.File("svg"), $"{picture}-forward-causal-{theme}.svg"))));
    }

    [Fact]
    public void AQuickReportWritesEverything()
    {
        using var folder = new TemporaryFolder();
        string report = folder.File("report");
        (int code, _, string error) = Run("report", "--quick", "--threads", "1", "--output", report);
        Assert.True(code == 0, error);
        string text = File.ReadAllText(Path.Combine(report, "report.md"));
        foreach (string table in new[] { "kernel-float32", "kernel-float64", "forward", "forward-backward", "memory", "first-call", "modules-forward-backward", "calls", "mixed", "gpt2" })
        {
            Assert.Contains($"\n## {table}\n", text, StringComparison.Ordinal);
            Assert.True(File.ReadAllLines(Path.Combine(report, table + ".csv")).Length > 1, table);
            Assert.Contains("| --- |", File.ReadAllText(Path.Combine(report, table + ".md")).Replace("---:", "---", StringComparison.Ordinal), StringComparison.Ordinal);
        }
        foreach (string picture in new[] { "kernel-float32", "time-forward-full", "speed-up-forward-backward-causal", "share-forward-full", "memory-full", "gpt2-time", "gpt2-memory" })
            Assert.All(new[] { "light", "dark" }, theme => Assert.True(File.Exists(Path.Combine(report, $"{picture}-{theme}.svg")), picture));
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(Path.Combine(report, "report.json")));
        Assert.True(json.RootElement.GetProperty("machine").GetProperty("CeilingGflops").EnumerateObject().All(c => c.Value.GetDouble() > 0));
        Assert.Equal(3, json.RootElement.GetProperty("tables").GetProperty("gpt2").GetArrayLength());
        Assert.True(File.Exists(Path.Combine(report, "io.md")));
        Assert.Empty(Directory.GetFiles(report, "*.tmp"));
    }

    private static (int Code, string Output, string Error) Run(params string[] arguments)
    {
        using StringWriter output = new() { NewLine = "\n" }, error = new() { NewLine = "\n" };
        return (Program.Run(arguments, output, error), output.ToString(), error.ToString());
    }
}
