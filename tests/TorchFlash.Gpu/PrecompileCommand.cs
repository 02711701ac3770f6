using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using TorchFlash.Gpu.Device;
using TorchFlash.Gpu.Report;
using TorchFlash.Gpu.Verify;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Gpu;

/// <summary>
/// The <c>precompile</c> verb: every kernel of verify and bench into the cache. NVRTC compiles no two kernels at a time in a process, so there are as
/// many processes as processors.
/// </summary>
internal static class PrecompileCommand
{
    /// <summary>A kernel that was not in the cache.</summary>
    private sealed record Compilation(string Kernel, double Seconds);

    public static Command Create()
    {
        var small = new Option<bool>("--small") { Description = "The kernels of verify --small." };
        var jobs = new Option<int>("--jobs") { Description = "Processes; 0: one for every processor.", DefaultValueFactory = _ => 0 };
        var share = new Option<int>("--share") { Description = "Of the processes, which this one is.", Hidden = true, DefaultValueFactory = _ => -1 };
        var command = new Command("precompile", "Compiles every kernel of the other parts into the cache, in several processes.") { small, jobs, share };
        command.SetAction(parsed =>
        {
            if (GpuOptions.Engines(parsed) is not { } engines)
                return ExitCode.NoGpu;
            int count = parsed.GetValue(jobs) > 0 ? parsed.GetValue(jobs) : Environment.ProcessorCount;
            DirectoryInfo folder = parsed.GetValue(GpuOptions.Out)!;
            double seconds = parsed.GetValue(GpuOptions.Seconds);
            return parsed.GetValue(share) is >= 0 and int own
                ? CompileShare(engines, Variants(engines, parsed.GetValue(small)), own, count, seconds, folder)
                : Distribute(engines, parsed.GetValue(small), count, seconds, parsed.GetValue(GpuOptions.Device), folder);
        });
        return command;
    }

    /// <summary>Those that are measured come first: they are wanted also where time does not allow all of them.</summary>
    private static List<KernelVariant> Variants(EngineSet engines, bool small)
    {
        List<VerifyCase> cases = small ? VerifyCase.Small(engines.Families) : VerifyCase.Full(engines.Families);
        return [.. cases.OrderByDescending(IsMeasured).SelectMany(c => Variants(engines, c)).Distinct()];
    }

    private static bool IsMeasured(VerifyCase test) =>
        test.Problem is { ElementType: ElementType.BFloat16, HeadDim: 64 or 128 or 256 } p && p.ValueDim == p.HeadDim && test.Layout == Layout.Contiguous;

    /// <summary>Those of a case's passes, in any order and in a fixed one, and of its averaged weights.</summary>
    private static IEnumerable<KernelVariant> Variants(EngineSet engines, VerifyCase test)
    {
        var options = new PrecompileOptions { Weights = true, Misaligned = test.Layout == Layout.Odd };
        CudaEngine engine = engines.Of(test.Family);
        return engine.Refusal(test.Problem) is not null ? []
            : engine.Variants(test.Problem, options).Concat(engine.Variants(test.Problem, options with { Deterministic = true }));
    }

    private static int CompileShare(EngineSet engines, List<KernelVariant> variants, int own, int count, double seconds, DirectoryInfo folder)
    {
        var clock = Stopwatch.StartNew();
        KernelCompiler compiler = engines.Runtime.Compiler!;
        List<string> failures = [];
        for (int i = own; i < variants.Count; i += count)
        {
            if (clock.Elapsed.TotalSeconds > seconds)
            {
                failures.Add($"{variants[i]}: not compiled, the time was over");
                continue;
            }
            try
            {
                compiler.Image(variants[i], out _);
            }
            catch (CudaException e)
            {
                failures.Add(e.Message);
            }
        }
        failures.AddRange(engines.Complaints);
        if (compiler.Cache.Problem is { } problem)
            failures.Add($"the cache keeps nothing: {problem}");
        return Report(ShareName(own), engines, variants.Count, failures, [.. compiler.Compiled.Select(k => new Compilation(k.Variant.ToString(), k.Time.TotalSeconds))], clock).Write(folder, quiet: true);
    }

    private static int Distribute(EngineSet engines, bool small, int count, double seconds, int device, DirectoryInfo folder)
    {
        var clock = Stopwatch.StartNew();
        string[] arguments =
        [
            "precompile", "--jobs", Text(count), "--seconds", Text(seconds), "--device", Text(device), "--out", folder.FullName, .. small ? (string[])["--small"] : [],
        ];
        // The host of a program that is a library, else the program itself.
        string[] self = Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet" ? [typeof(PrecompileCommand).Assembly.Location] : [];
        Process[] processes = [.. Enumerable.Range(0, count).Select(i => Process.Start(Environment.ProcessPath!, [.. self, .. arguments, "--share", Text(i)]))];
        List<string> failures = [];
        List<Compilation> compiled = [];
        for (int i = 0; i < count; i++)
        {
            processes[i].WaitForExit();
            if (PartReport.Read(folder, ShareName(i)) is not { } share)
            {
                failures.Add($"process {i} ended with exit code {processes[i].ExitCode} and without a report");
                continue;
            }
            failures.AddRange(share.Failures);
            compiled.AddRange(share.DetailsAs<Compilation[]>() ?? []);
            File.Delete(Path.Combine(folder.FullName, ShareName(i) + ".json"));
        }
        int all = Variants(engines, small).Count;
        Console.WriteLine(FormattableString.Invariant(
            $"{all} kernels, {compiled.Count} of them compiled in {clock.Elapsed.TotalSeconds:F1} s by {count} processes, {compiled.Sum(c => c.Seconds):F0} s in all, at most {compiled.Select(c => c.Seconds).DefaultIfEmpty().Max():F1} s for one; {engines.Runtime.Compiler!.Cache}"));
        return Report("precompile", engines, all, [.. failures.Distinct()], compiled, clock).Write(folder);
    }

    private static string ShareName(int i) => "precompile-" + Text(i);

    private static string Text(IFormattable number) => number.ToString(null, CultureInfo.InvariantCulture);

    private static PartReport Report(string part, EngineSet engines, int kernels, List<string> failures, List<Compilation> compiled, Stopwatch clock) =>
        new(part, failures.Count == 0, GpuOptions.Name(engines), engines.IsEmulated, kernels, failures, compiled) { Seconds = clock.Elapsed.TotalSeconds };
}
