using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using static TorchSharp.torch;

namespace AttentionBench.Measuring;

/// <summary>One forward and backward pass in a process of its own, so that nothing but it is in the measurement.</summary>
internal static class Probe
{
    private const string Verb = "probe";

    private static readonly Option<string> Name = new("--contestant") { Required = true };
    private static readonly Option<string?> Score = new("--score");
    private static readonly Option<int> Length = new("--n") { Required = true };
    private static readonly Option<int> Heads = new("--heads") { Required = true };
    private static readonly Option<int> Dim = new("--dim") { Required = true };
    private static readonly Option<bool> Causal = new("--causal");

    /// <summary>What the child runs: prints the growth of its memory in bytes.</summary>
    public static Command Command()
    {
        var command = new Command(Verb, "Memory growth of one forward and backward pass, in bytes.") { Name, Score, Length, Heads, Dim, Causal, TorchThreads.Option };
        command.Hidden = true;
        command.SetAction(parsed =>
        {
            TorchThreads.Apply(parsed);
            (int heads, int n, int dim) = (parsed.GetValue(Heads), parsed.GetValue(Length), parsed.GetValue(Dim));
            Contestant contestant = Contestant.All.Single(c => c.Name == parsed.GetValue(Name));
            Console.WriteLine(parsed.GetValue(Score) is { } score ? Growth(score, heads, n, dim) : Growth(contestant, heads, n, dim, parsed.GetValue(Causal)).Bytes);
        });
        return command;
    }

    /// <summary>In this process: bytes of growth during one forward and backward pass, and its seconds.</summary>
    public static (long Bytes, double Seconds) Growth(Contestant contestant, int heads, int n, int dim, bool causal)
    {
        using var scope = NewDisposeScope();
        for (int warmUp = 0; warmUp < 3; warmUp++)
            new Workload(contestant, heads, 64, dim, causal).ForwardBackward(); // loads code, starts threads
        var workload = new Workload(contestant, heads, n, dim, causal);
        double seconds = 0;
        long bytes = PeakMemory.Growth(() => seconds = Measure.Seconds(workload.ForwardBackward));
        return (bytes, seconds);
    }

    /// <summary>What can be done to scores without a matrix of them.</summary>
    public static ScoreCase[] Scores(int heads, int n) => [ScoreCase.Plain, ScoreCase.Alibi(heads, n), ScoreCase.Window(n, 512), ScoreCase.KeyBias(heads, n), ScoreCase.WithDropout()];

    /// <summary>In a child process: bytes of growth.</summary>
    /// <param name="contestant">What is measured.</param>
    /// <param name="heads">Number of heads.</param>
    /// <param name="n">Sequence length.</param>
    /// <param name="dim">Head dimension.</param>
    /// <param name="causal">With a causal mask.</param>
    /// <param name="score">One of <see cref="Scores"/>, by the engine alone; null: none of them.</param>
    public static long GrowthInChild(Contestant contestant, int heads, int n, int dim, bool causal, string? score = null)
    {
        string[] arguments =
        [
            Verb, Name.Name, contestant.Name, .. score is null ? Array.Empty<string>() : [Score.Name, score], Length.Name, Text(n), Heads.Name, Text(heads), Dim.Name, Text(dim), Causal.Name, causal.ToString(), TorchThreads.Option.Name, Text(get_num_threads()),
        ];
        string host = Environment.ProcessPath!;
        if (Path.GetFileNameWithoutExtension(host) == "dotnet")
            arguments = [typeof(Probe).Assembly.Location, .. arguments];
        using Process child = Process.Start(new ProcessStartInfo(host, arguments) { RedirectStandardOutput = true })!;
        string output = child.StandardOutput.ReadToEnd();
        child.WaitForExit();
        return child.ExitCode == 0
            ? long.Parse(output, CultureInfo.InvariantCulture)
            : throw new InvalidOperationException($"The memory measurement of {contestant.Name} at N = {n} ended with exit code {child.ExitCode}.");
    }

    /// <summary>In this process: bytes of growth during both passes of the engine, results and the tensors of the score included.</summary>
    private static long Growth(string score, int heads, int n, int dim)
    {
        Run(64, action => action());
        long bytes = 0;
        Run(n, action => bytes = PeakMemory.Growth(action));
        return bytes;

        void Run(int n, Action<Action> measure)
        {
            using var plain = new EnginePasses<float>(heads, n, dim, false, get_num_threads());
            ScoreCase c = Scores(heads, n).Single(c => c.Name == score);
            measure(() =>
            {
                using var passes = new ScorePasses<float>(plain, c);
                passes.Both();
            });
        }
    }

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}
