using System.CommandLine;
using System.Diagnostics;
using TorchFlash.Gpu.Report;

namespace TorchFlash.Gpu.Torch;

/// <summary>The <c>end-to-end</c> verb: what users call, on tensors of the GPU.</summary>
internal static class EndToEndCommand
{
    /// <summary>A check that ended, and how.</summary>
    private sealed record CheckResult(string Check, bool Passed, double Seconds, string Note);

    public static Command Create()
    {
        var text = new Option<FileInfo?>("--text") { Description = "UTF-8 text for the GPT-2 sample to learn from; without it that part is left out." };
        var filter = new Option<string>("--filter") { Description = "Only checks whose name contains this.", DefaultValueFactory = _ => "" };
        var command = new Command("end-to-end", "Functions, modules and the GPT-2 sample on tensors of the GPU.") { text, filter, TorchGpu.Rehearsal };
        command.SetAction(parsed =>
        {
            using TorchGpu? gpu = TorchGpu.Open(parsed);
            if (gpu is null)
                return ExitCode.NoGpu;
            var clock = Stopwatch.StartNew();
            List<CheckResult> results = [];
            IEnumerable<Check> checks = [.. LayerChecks.All(gpu), .. MemoryChecks.All(gpu), .. SampleChecks.All(gpu, parsed.GetValue(text))];
            foreach (Check check in checks.Where(c => c.Name.Contains(parsed.GetValue(filter)!, StringComparison.OrdinalIgnoreCase)))
            {
                CheckResult result = clock.Elapsed.TotalSeconds > parsed.GetValue(GpuOptions.Seconds)
                    ? new CheckResult(check.Name, false, 0, "not run, the time was over")
                    : Run(check);
                results.Add(result);
                Console.WriteLine(FormattableString.Invariant($"{(result.Passed ? "ok    " : "FAILED")}  {result.Check}  {result.Seconds:F2} s  {result.Note}"));
            }
            Console.WriteLine();
            Console.WriteLine(flash.describe());
            return new PartReport("end-to-end", results.Count > 0 && results.All(r => r.Passed), GpuOptions.Name(gpu.Engines), gpu.Engines.IsEmulated || gpu.IsRehearsal, results.Count,
                [.. results.Where(r => !r.Passed).Select(r => $"{r.Check}: {r.Note}")], new { gpu.IsRehearsal, Results = results, Describe = flash.describe().Split('\n') })
            {
                Seconds = clock.Elapsed.TotalSeconds,
            }.Write(parsed.GetValue(GpuOptions.Out)!);
        });
        return command;
    }

    private static CheckResult Run(Check check)
    {
        var clock = Stopwatch.StartNew();
        try
        {
            using var scope = TorchSharp.torch.NewDisposeScope();
            string note = check.Body();
            return new CheckResult(check.Name, true, clock.Elapsed.TotalSeconds, note);
        }
        catch (Exception e)
        {
            return new CheckResult(check.Name, false, clock.Elapsed.TotalSeconds, $"{e.GetType().Name}: {e.Message}");
        }
    }
}

/// <summary>Something that must hold.</summary>
/// <param name="Name">What.</param>
/// <param name="Body">Throws where it does not; else says what it found.</param>
internal sealed record Check(string Name, Func<string> Body);
