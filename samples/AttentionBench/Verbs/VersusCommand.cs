using System.CommandLine;
using System.Reflection;
using System.Runtime.Loader;
using AttentionBench.Cli;
using AttentionBench.Engine;
using AttentionBench.Measuring;
using AttentionBench.Output;
using TorchFlash.Kernels;
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
        Option<int?> threads = Options.Whole("--threads", "Threads.", 1, 1, 1024), rounds = Options.Whole("--repeat", "Rounds per case.", 21, 1, 100_000);
        var command = new Command("versus", "The CPU engine against that of another build, in one process (no libtorch).") { other, threads, rounds };
        return Session.On(command, false, [Options.Json, Options.Csv], parsed => session =>
        {
            Run(session, parsed.GetValue(other)!.FullName, parsed.GetValue(threads)!.Value, parsed.GetValue(rounds)!.Value);
            return 0;
        });
    }

    private static void Run(Session session, string otherKernels, int threads, int rounds)
    {
        // This very program once more, over the other kernels.
        Type passes = new OtherBuild(otherKernels).LoadFromAssemblyPath(typeof(VersusCommand).Assembly.Location).GetType(typeof(EnginePasses).FullName!)!;
        ConstructorInfo constructor = passes.GetConstructors().Single(c => c.GetParameters().Length == 6);
        object type = Enum.ToObject(constructor.GetParameters()[0].ParameterType, (int)ElementType.Float32);

        session.Line(CpuEngine.Instance.Describe());
        Table table = session.Begin(new Table(
            "versus", $"This build's time over that of {otherKernels}: medians of {rounds} pairs, quartiles in brackets, {threads} threads, float32.",
            new("case"), new("forward", "F3"), new("backward", "F3"), new("disturbed")));
        (int Heads, int Length, int Dim)[] shapes = [(12, 256, 64), (12, 1024, 64), (12, 4096, 64), (8, 2048, 128), (12, 2048, 32)];
        session.Expect(2 * shapes.Length);
        foreach ((int heads, int length, int dim) in shapes)
        {
            foreach (bool causal in new[] { false, true })
            {
                string name = $"H={heads} N={length} d={dim} {(causal ? "causal" : "full")}";
                session.Step(name);
                using var mine = new EnginePasses(ElementType.Float32, heads, length, dim, causal, threads);
                using var theirs = (IDisposable)constructor.Invoke([type, heads, length, dim, causal, threads]);
                MachineState before = MachineState.Now();
                Spread forward = Measure.Paired(rounds, Pass(nameof(EnginePasses.Forward)), mine.Forward)[0].Ratio, backward = Measure.Paired(rounds, Pass(nameof(EnginePasses.Backward)), mine.Backward)[0].Ratio;
                session.Row(table, name, forward, backward, Disturbance.Between(before, MachineState.Now(), threads));

                Action Pass(string name) => passes.GetMethod(name)!.CreateDelegate<Action>(theirs);
            }
        }
        session.End(table);
    }

    /// <summary>Where the name of the kernels means another file.</summary>
    private sealed class OtherBuild(string kernels) : AssemblyLoadContext
    {
        protected override Assembly? Load(AssemblyName assemblyName) => assemblyName.Name == typeof(CpuEngine).Assembly.GetName().Name ? LoadFromAssemblyPath(kernels) : null;
    }
}
