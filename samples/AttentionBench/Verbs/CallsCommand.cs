using System.CommandLine;
using AttentionBench.Cli;
using AttentionBench.Contestants;
using AttentionBench.Engine;
using AttentionBench.Measuring;
using AttentionBench.Output;
using TorchFlash.Kernels;
using static TorchSharp.torch;

namespace AttentionBench.Verbs;

/// <summary>
/// What one call costs where there is hardly anything to compute: flash, the engine below it, libtorch's SDPA and the naive composition, turn by turn.
/// </summary>
internal static class CallsCommand
{
    /// <summary>A turn lasts at least so long, so that neither the clock nor what the contestant before left in the caches counts.</summary>
    private const double SecondsPerTurn = 0.001;

    /// <summary>Queries, keys and dimension of heads so small that what surrounds the products counts.</summary>
    private const int Tiny = 16;

    /// <summary>Rounds in the end of which the runtime, which does it in the background, has compiled everything for good.</summary>
    private const int WarmUpRounds = 400;

    private static readonly string[] s_passes = ["forward", "gradients wanted", "forward + backward"];

    public static Command Command()
    {
        Option<int[]> lengths = Options.Wholes("--n", "Sequence lengths.", [1, 32, 128]), heads = Options.Wholes("--heads", "Numbers of heads.", [1, 12]);
        Option<int[]> keys = Options.Wholes("--keys", "Numbers of keys for one query, as in decoding.", [1024]), tiny = Options.Wholes("--tiny", $"Numbers of heads of {Tiny} x {Tiny}, d = {Tiny}.", [4096]);
        Option<int?> dim = Options.Whole("--dim", "Head dimension.", 64), rounds = Options.Whole("--repeat", "Rounds.", 151, 1, 100_000);
        var command = new Command("calls", "Microseconds of one call on short sequences: forward, with gradients wanted, and with gradients.") { lengths, heads, keys, tiny, dim, rounds };
        return Session.On(command, true, [Options.Json, Options.Csv], parsed => session =>
        {
            int d = parsed.GetValue(dim)!.Value;
            int[] h = parsed.GetValue(heads)!;
            Run(session, [.. Short(h, parsed.GetValue(lengths)!, d), .. Decoding(h, parsed.GetValue(keys)!, d), .. parsed.GetValue(tiny)!.Select(count => Of(count, Tiny, Tiny, Tiny))], parsed.GetValue(rounds)!.Value, WarmUpRounds);
            return 0;
        });
    }

    /// <summary>Short sequences.</summary>
    internal static AttentionCase[] Short(int[] heads, int[] lengths, int dim) => [.. from h in heads from n in lengths select Of(h, n, n, dim)];

    internal static void Run(Session session, AttentionCase[] cases, int rounds, int warmUpRounds)
    {
        session.Expect(cases.Length + 1);
        session.Step("calls, warming up");
        foreach (string pass in s_passes)
            Turns(Of(1, 32, 32, 64), pass, warmUpRounds);
        Table table = session.Begin(new Table(
            "calls", $"Microseconds of one call, B = 1, float32, full: medians of {rounds} rounds, quartiles in brackets; \"gradients wanted\": the forward pass with what a backward pass would need; \"engine\": the kernels' passes alone, no tensors; \"x\": how many times as long as flash, of turns in the same round.",
            new("H", "D"), new("N", "D"), new("Nk", "D"), new("d", "D"), new("pass"), new("flash us", "F1"), new("engine us", "F1"), new("sdpa us", "F1"), new("sdpa / flash", "F2", "x"), new("naive us", "F1"), new("naive / flash", "F2", "x"), new("disturbed")));
        foreach (AttentionCase c in cases)
        {
            session.Step($"calls, H = {c.Heads}, N = {c.Queries}, Nk = {c.Keys}, d = {c.Dim}");
            foreach (string pass in s_passes)
            {
                MachineState before = MachineState.Now();
                double[][] s = Turns(c, pass, rounds);
                string disturbed = Disturbance.Between(before, MachineState.Now(), get_num_threads());
                session.Row(table, c.Heads, c.Queries, c.Keys, c.Dim, pass, Microseconds(s[0]), Microseconds(s[1]), Microseconds(s[2]), Spread.OfRatios(s[2], s[0]), Microseconds(s[3]), Spread.OfRatios(s[3], s[0]), disturbed);
            }
        }
        session.End(table);

        static Spread Microseconds(double[] seconds) => 1e6 * Spread.Of(seconds);
    }

    /// <summary>One query each.</summary>
    private static AttentionCase[] Decoding(int[] heads, int[] keys, int dim) => [.. from h in heads from n in keys select Of(h, 1, n, dim)];

    private static AttentionCase Of(int heads, int queries, int keys, int dim) => new() { Heads = heads, KeyHeads = heads, Queries = queries, Keys = keys, Dim = dim, ValueDim = dim };

    /// <summary>Seconds of flash, engine, sdpa and naive.</summary>
    private static double[][] Turns(AttentionCase c, string pass, int rounds)
    {
        using var scope = NewDisposeScope();
        using var engine = new EnginePasses(
            new AttentionProblem
            {
                Batch = 1,
                Heads = c.Heads,
                QueryLength = c.Queries,
                KeyLength = c.Keys,
                HeadDim = c.Dim,
                ValueDim = c.ValueDim,
                Scale = AttentionProblem.DefaultScale(c.Dim),
            },
            get_num_threads());
        engine.Forward(); // what the first backward pass reads
        bool isBoth = pass == s_passes[2];
        Func<double>[] all = [Call(Contestant.Flash), Measure.Timed(isBoth ? Both : engine.Forward), Call(Contestant.Sdpa), Call(Contestant.Naive)];
        return Measure.InTurn(_ => rounds, SecondsPerTurn, all);

        Func<double> Call(string name)
        {
            var workload = new Workload(Contestant.Named(name), c);
            return Measure.Timed(isBoth ? workload.ForwardBackward : pass == s_passes[0] ? workload.Forward : workload.ForwardForBackward);
        }

        void Both()
        {
            engine.Forward();
            engine.Backward();
        }
    }
}
