using System.CommandLine;
using System.Text.Json;
using AttentionBench.Contestants;
using AttentionBench.Engine;
using Gpt2;
using static TorchSharp.torch;

namespace AttentionBench.Measuring;

/// <summary>What a process of its own is to measure.</summary>
/// <param name="Threads">Of libtorch and of flash.</param>
/// <param name="Case">The problem.</param>
/// <param name="Contestant">Who computes it.</param>
/// <param name="Pass">Whose first call is timed; null: memory growth of forward and backward.</param>
/// <param name="Score">One of <see cref="Probe.Scores"/>, by the engine alone; null: none of them.</param>
internal sealed record ProbeRequest(int Threads, AttentionCase Case, string Contestant, Pass? Pass = null, string? Score = null);

/// <summary>What it has measured.</summary>
/// <param name="Bytes">Growth of memory.</param>
/// <param name="FirstSeconds">Of the first call.</param>
/// <param name="LaterSeconds">Of one after some more.</param>
internal sealed record ProbeResult(long Bytes, double FirstSeconds = 0, double LaterSeconds = 0);

/// <summary>Passes in a process of their own, so that nothing but them is in the measurement.</summary>
internal static class Probe
{
    private const string Verb = "probe";

    /// <summary>Calls before the later one, of which the runtime compiles everything for good; fewer where they take long.</summary>
    private const int CallsBeforeLater = 50;
    private const double SecondsBeforeLater = 2;

    /// <summary>What the child runs.</summary>
    public static Command Command()
    {
        var request = new Argument<string>("request");
        var command = new Command(Verb, "Measures one thing and prints it as JSON.") { request };
        command.Hidden = true;
        command.SetAction(parsed =>
        {
            ProbeRequest asked = JsonSerializer.Deserialize<ProbeRequest>(parsed.GetValue(request)!) ?? throw new UserException("probe takes a request.");
            set_num_threads(asked.Threads);
            parsed.InvocationConfiguration.Output.WriteLine(JsonSerializer.Serialize(Measure(asked)));
        });
        return command;
    }

    /// <summary>What can be done to scores without a matrix of them.</summary>
    public static ScoreCase[] Scores(int heads, int n) => [ScoreCase.Plain, ScoreCase.Alibi(heads, n), ScoreCase.Window(n, 512), ScoreCase.KeyBias(heads, n), ScoreCase.WithDropout()];

    /// <summary>In a child process: bytes by which memory grows in one forward and backward pass.</summary>
    public static long Memory(Contestant contestant, AttentionCase c, string? score = null) => Ask(new(get_num_threads(), c, contestant.Name, null, score)).Bytes;

    /// <summary>In a child process: seconds of the first call and of a later one.</summary>
    public static ProbeResult FirstCall(Contestant contestant, AttentionCase c, Pass pass) => Ask(new(get_num_threads(), c, contestant.Name, pass));

    /// <summary>In this process: bytes of growth during one forward and backward pass, and its seconds.</summary>
    public static (long Bytes, double Seconds) Growth(Contestant contestant, AttentionCase c)
    {
        using var scope = NewDisposeScope();
        for (int warmUp = 0; warmUp < 3; warmUp++)
            new Workload(contestant, c with { Queries = 64, Keys = 64 }).ForwardBackward(); // loads code, starts threads
        var workload = new Workload(contestant, c);
        double seconds = 0;
        long bytes = PeakMemory.Growth(() => seconds = Measuring.Measure.Seconds(workload.ForwardBackward));
        return (bytes, seconds);
    }

    private static ProbeResult Ask(ProbeRequest request) =>
        ChildProcess.Ask<ProbeResult>($"{request.Contestant} at N = {request.Case.Keys}", Verb, JsonSerializer.Serialize(request));

    private static ProbeResult Measure(ProbeRequest request)
    {
        Contestant contestant = Contestant.Named(request.Contestant);
        if (request.Score is { } score)
            return new(Growth(score, request.Case.Heads, request.Case.Keys, request.Case.Dim));
        if (request.Pass is not { } pass)
            return new(Growth(contestant, request.Case).Bytes);

        using var scope = NewDisposeScope();
        var workload = new Workload(contestant, request.Case);
        double first = workload.Run(pass);
        double sum = 0;
        for (int call = 0; call < CallsBeforeLater && sum < SecondsBeforeLater; call++)
            sum += workload.Run(pass);
        return new(0, first, workload.Run(pass));
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
            using var plain = new EnginePasses(TorchFlash.Kernels.ElementType.Float32, heads, n, dim, false, get_num_threads());
            ScoreCase c = Scores(heads, n).Single(c => c.Name == score);
            measure(() =>
            {
                using var passes = new ScorePasses<float>(plain, c);
                passes.Both();
            });
        }
    }
}
