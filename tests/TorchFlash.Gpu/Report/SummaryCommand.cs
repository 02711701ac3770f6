using System.CommandLine;
using System.Text.Json;

namespace TorchFlash.Gpu.Report;

/// <summary>The <c>summary</c> verb: whether every part that was asked for ran and passed.</summary>
internal static class SummaryCommand
{
    public static Command Create()
    {
        var parts = new Argument<string[]>("part") { Description = "Parts that must have run." };
        var command = new Command("summary", "Write summary.json of the parts' reports.") { parts };
        command.SetAction(parsed =>
        {
            DirectoryInfo folder = parsed.GetValue(GpuOptions.Out)!;
            var lines = parsed.GetValue(parts)!.Select(part => (part, report: PartReport.Read(folder, part))).ToArray();
            Console.WriteLine();
            foreach ((string part, PartReport? report) in lines)
                Console.WriteLine($"{part,-12}  {(report is null ? "NOT RUN" : report.Passed ? "passed" : "FAILED"),-8}  {(report is null ? "" : $"{report.Checks} checked, {report.Failures.Count} failed, {report.Seconds:F1} s, {report.Device}{(report.IsEmulated ? " (EMULATED)" : "")}")}");
            bool passed = lines.Length > 0 && lines.All(line => line.report is { Passed: true });
            bool emulated = lines.Any(line => line.report is { IsEmulated: true });
            File.WriteAllText(Path.Combine(folder.FullName, "summary.json"), JsonSerializer.Serialize(
                new
                {
                    Passed = passed,
                    RanOnHardware = lines.Any(line => line.report is { IsEmulated: false }) && !emulated,
                    Parts = lines.Select(line => new { Part = line.part, Ran = line.report is not null, line.report?.Passed, line.report?.Checks, Failures = line.report?.Failures.Count, line.report?.Seconds, line.report?.Device, line.report?.IsEmulated }),
                },
                new JsonSerializerOptions { WriteIndented = true }));
            return passed ? ExitCode.Passed : ExitCode.Failed;
        });
        return command;
    }
}
