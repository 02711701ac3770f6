using System.CommandLine;
using System.Globalization;
using System.Reflection;
using System.Runtime.Loader;
using TorchFlash.Kernels.Cpu;

namespace AttentionBench.Verbs;

/// <summary>
/// The CPU engine of this build against that of another, turn by turn in one process: what a change has cost or brought, on machines whose
/// speed drifts by more than that.
/// </summary>
internal static class VersusCommand
{
    public static Command Command()
    {
        var other = new Argument<FileInfo>("kernels") { Description = "TorchFlash.Kernels.dll of the other build." };
        other.AcceptExistingOnly();
        var threads = new Option<int>("--threads") { Description = "Threads.", DefaultValueFactory = _ => 1 };
        var rounds = new Option<int>("--repeat") { Description = "Rounds per case.", DefaultValueFactory = _ => 21 };
        var command = new Command("versus", "The CPU engine against that of another build, in one process (no libtorch).") { other, threads, rounds };
        command.SetAction(parsed => Run(parsed.GetValue(other)!.FullName, parsed.GetValue(threads), parsed.GetValue(rounds)));
        return command;
    }

    private static void Run(string otherKernels, int threads, int rounds)
    {
        // This very program once more, over the other kernels.
        Type passes = new OtherBuild(otherKernels).LoadFromAssemblyPath(typeof(VersusCommand).Assembly.Location).GetType($"{typeof(EnginePasses<float>).Namespace}.EnginePasses`1")!.MakeGenericType(typeof(float));

        Console.WriteLine(CpuEngine.Instance.Describe());
        Console.WriteLine($"this build's time over that of {otherKernels}: medians of {rounds} pairs, {threads} threads, float32");
        Console.WriteLine();
        Console.WriteLine("| case | forward | backward |");
        Console.WriteLine("| --- | ---: | ---: |");
        foreach ((int heads, int length, int dim) in new[] { (12, 256, 64), (12, 1024, 64), (12, 4096, 64), (8, 2048, 128), (12, 2048, 32) })
        {
            foreach (bool causal in new[] { false, true })
            {
                using var mine = new EnginePasses<float>(heads, length, dim, causal, threads);
                using var theirs = (IDisposable)Activator.CreateInstance(passes, heads, length, dim, causal, threads)!;
                double forward = Measure.Paired(rounds, Pass(nameof(EnginePasses<>.Forward)), mine.Forward)[0].Ratio, backward = Measure.Paired(rounds, Pass(nameof(EnginePasses<>.Backward)), mine.Backward)[0].Ratio;
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| H={heads} N={length} d={dim} {(causal ? "causal" : "full")} | {forward:F3} | {backward:F3} |"));

                Action Pass(string name) => passes.GetMethod(name)!.CreateDelegate<Action>(theirs);
            }
        }
    }

    /// <summary>Where the name of the kernels means another file.</summary>
    private sealed class OtherBuild(string kernels) : AssemblyLoadContext
    {
        protected override Assembly? Load(AssemblyName assemblyName) => assemblyName.Name == typeof(CpuEngine).Assembly.GetName().Name ? LoadFromAssemblyPath(kernels) : null;
    }
}
