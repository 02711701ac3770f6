using Spectre.Console;

namespace TorchFlash.Gpu.Torch;

/// <summary>The results for people: a table for every pass and mask, TFLOP/s and in brackets the peak memory of a pass.</summary>
internal static class BenchTable
{
    public static void Print(List<BenchResult> results)
    {
        string[] contestants = [.. results.Select(r => r.Contestant).Distinct()];
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Ansi = AnsiSupport.No, ColorSystem = ColorSystemSupport.NoColors });
        console.Profile.Width = 40 + 26 * contestants.Length;
        foreach (var group in results.GroupBy(r => (r.Case.Type, r.Pass, r.Case.Causal)))
        {
            var table = new Table { Border = TableBorder.Markdown, Title = new TableTitle($"{group.Key.Type} {group.Key.Pass}, {(group.Key.Causal ? "causal" : "full")}: TFLOP/s (MiB)") };
            table.AddColumn("d").AddColumn("N");
            foreach (string contestant in contestants)
                table.AddColumn(new TableColumn(Markup.Escape(contestant)).RightAligned());
            foreach (var row in group.GroupBy(r => (r.Case.Dim, r.Case.Length)).OrderBy(r => r.Key))
            {
                table.AddRow([$"{row.Key.Dim}", $"{row.Key.Length}", .. contestants.Select(c => Text(row.FirstOrDefault(r => r.Contestant == c)))]);
            }
            console.Write(table);
            console.WriteLine();
        }
    }

    private static string Text(BenchResult? result) => result?.Teraflops is not { } rate ? "-"
        : FormattableString.Invariant($"{rate:F0} ({result.PeakMebibytes?.ToString("F0", System.Globalization.CultureInfo.InvariantCulture) ?? "?"})");
}
