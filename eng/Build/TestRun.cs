using System.Diagnostics;

namespace TorchFlash.Build;

/// <summary>A test project under one configuration of the machine.</summary>
/// <param name="Project">The project's folder.</param>
/// <param name="Variant">What is special about this run; empty for the ordinary one.</param>
/// <param name="Environment">The environment variables that make it so.</param>
/// <param name="Filter">Which tests to run, in the language of <c>dotnet test --filter</c>; all when null.</param>
internal sealed record TestRun(string Project, string Variant, IReadOnlyDictionary<string, string> Environment, string? Filter = null)
{
    // No project's suite takes a tenth of this: a run that reaches it hangs.
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(20);

    public string Name => Path.GetFileName(Project) + (Variant.Length > 0 ? $" ({Variant})" : "");

    /// <summary>Every test project once, and the kernels' again without AVX-512 and without any vector instruction.</summary>
    /// <param name="provider">The TorchSharp that was built against.</param>
    public static IEnumerable<TestRun> All(TorchSharpProvider provider)
    {
        foreach (string project in Repository.TestProjects(provider))
        {
            yield return new TestRun(project, "", Path.GetFileName(project) == "TorchFlash.Cuda.Tests" ? CompilerForTests() : new Dictionary<string, string>());
            if (Path.GetFileName(project) == "TorchFlash.Kernels.Tests")
            {
                yield return new TestRun(project, "no AVX-512", new Dictionary<string, string> { ["DOTNET_EnableAVX512"] = "0" });
                yield return new TestRun(project, "no vector instructions", new Dictionary<string, string> { ["DOTNET_EnableHWIntrinsic"] = "0" }, "Size!=Large");
            }
        }
    }

    /// <summary>The run-time compiler that this repository fetched, unless the caller names another or the machine's own is to be found.</summary>
    private static Dictionary<string, string> CompilerForTests() =>
        System.Environment.GetEnvironmentVariable("TORCHFLASH_NVRTC") is null && NvrtcDownload.Library is { } library
            ? new Dictionary<string, string> { ["TORCHFLASH_NVRTC"] = library }
            : [];

    /// <summary>Runs the projects whose run's name contains one of the given texts, sums up, and returns the exit code.</summary>
    public static int RunAll(IReadOnlyCollection<string> names)
    {
        List<TestReport> reports = [];
        var provider = LocalSettings.Read(LocalSettings.DefaultPath)!.Provider;
        foreach (var run in All(provider).Where(run => names.Count == 0 || names.Any(n => run.Name.Contains(n, StringComparison.OrdinalIgnoreCase))))
        {
            Console.Write($"{run.Name,-55} ");
            var clock = Stopwatch.StartNew();
            reports.Add(run.Execute());
            Console.WriteLine($"{reports[^1]}, {clock.Elapsed.TotalSeconds:F1} s");
        }

        foreach (var report in reports)
        {
            report.WriteFailures(Console.Out);
        }

        TestReport.WriteTotals(reports, Console.Out);
        return reports.Sum(r => r.Passed) > 0 && reports.All(r => r.Failures.Count == 0) ? 0 : 1;
    }

    private TestReport Execute()
    {
        string results = Repository.PathOf("artifacts", "test-results");
        string trx = Path.Combine(results, Name + ".trx");
        Directory.CreateDirectory(results);
        File.Delete(trx);
        var (exitCode, _, errors) = Executable.Capture(
            "dotnet",
            [
                "test", Repository.ReleaseAssembly(Project), "--logger", $"trx;LogFileName={Path.GetFileName(trx)}", "--results-directory", results, "--nologo",
                .. Filter is null ? Array.Empty<string>() : ["--filter", Filter],
            ],
            Environment,
            Limit);
        return TestReport.Read(Name, trx, exitCode, errors);
    }
}
