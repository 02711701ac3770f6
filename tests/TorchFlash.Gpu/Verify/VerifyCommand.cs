using System.CommandLine;
using System.Diagnostics;
using TorchFlash.Gpu.Device;
using TorchFlash.Gpu.Report;

namespace TorchFlash.Gpu.Verify;

/// <summary>The <c>verify</c> verb: the numeric bar against double, on the GPU's own memory, without libtorch.</summary>
internal static class VerifyCommand
{
    public static Command Create()
    {
        var small = new Option<bool>("--small") { Description = "A handful of small problems: what an emulated GPU does in a minute." };
        var filter = new Option<string>("--filter") { Description = "Only cases whose description contains this.", DefaultValueFactory = _ => "" };
        var jobs = new Option<int>("--jobs") { Description = "Cases at a time; 0: one for every processor.", DefaultValueFactory = _ => 0 };
        var command = new Command("verify", "Forward, backward and averaged weights of every type, head dimension and option against float64.") { small, filter, jobs };
        command.SetAction(parsed =>
        {
            if (GpuOptions.Engines(parsed) is not { } engines)
                return ExitCode.NoGpu;
            KernelFamily[] families = engines.Families;
            List<VerifyCase> cases = parsed.GetValue(small) ? VerifyCase.Small(families) : VerifyCase.Full(families);
            cases = [.. cases.Where(c => c.ToString().Contains(parsed.GetValue(filter)!, StringComparison.OrdinalIgnoreCase))];
            int parallel = parsed.GetValue(jobs) > 0 ? parsed.GetValue(jobs) : Environment.ProcessorCount;
            return Run(engines, cases, parallel, parsed.GetValue(GpuOptions.Seconds)).Write(parsed.GetValue(GpuOptions.Out)!);
        });
        return command;
    }

    /// <summary>Cases in parallel: while one compiles or computes its truth, others use the GPU. Those that time does not allow are failures.</summary>
    private static PartReport Run(EngineSet engines, List<VerifyCase> cases, int parallel, double seconds)
    {
        var clock = Stopwatch.StartNew();
        var results = new CaseResult?[cases.Count];
        int done = 0;
        Parallel.For(0, cases.Count, new ParallelOptions { MaxDegreeOfParallelism = parallel }, i =>
        {
            if (clock.Elapsed.TotalSeconds > seconds)
                return;
            CaseResult result = results[i] = Verification.Run(engines, cases[i], seed: i + 1);
            lock (results)
            {
                Comparison? worst = result.Comparisons.MaxBy(c => double.IsNaN(c.Error) ? double.PositiveInfinity : c.Bar > 0 ? c.Error / c.Bar : 0);
                Console.WriteLine(FormattableString.Invariant(
                    $"{++done,4}/{cases.Count}  {(result.Passed ? "ok    " : "FAILED")}  {result.Case}{(worst is null ? "" : $"  worst {worst.Name} {worst.Error:G3} of {worst.Bar:G3}")}"));
            }
        });
        List<string> failures = [.. engines.Complaints];
        for (int i = 0; i < cases.Count; i++)
        {
            if (results[i] is not { } result)
                failures.Add($"{cases[i]}: not run, the time was over");
            else
            {
                failures.AddRange(result.Failures.Select(f => $"{result.Case}: {f}"));
                failures.AddRange(result.Comparisons.Where(c => !c.Passed).Select(c => $"{result.Case}: {c.Name}: {c.Complaint}"));
            }
        }
        return new PartReport("verify", failures.Count == 0 && cases.Count > 0, GpuOptions.Name(engines), engines.IsEmulated, cases.Count, failures, results.OfType<CaseResult>())
        {
            Seconds = clock.Elapsed.TotalSeconds,
        };
    }
}
