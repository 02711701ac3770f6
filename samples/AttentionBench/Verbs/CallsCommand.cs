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

    /// <summary>Rounds in the end of which the runtime, which does it in the background, has compiled everything for good.</summary>
    private const int WarmUpRounds = 400;

    public static Command Command()
    {
        Option<int[]> lengths = Options.Wholes("--n", "Sequence lengths.", [1, 32, 128]), heads = Options.Wholes("--heads", "Numbers of heads.", [1, 12]);
        Option<int?> dim = Options.Whole("--dim", "Head dimension.", 64), rounds = Options.Whole("--repeat", "Rounds.", 151, 1, 100_000);
        var command = new Command("calls", "Microseconds of one call on short sequences, forward and with gradients.") { lengths, heads, dim, rounds };
        return Session.On(command, true, [Options.Json, Options.Csv], parsed => session =>
        {
            Run(session, parsed.GetValue(heads)!, parsed.GetValue(lengths)!, parsed.GetValue(dim)!.Value, parsed.GetValue(rounds)!.Value, WarmUpRounds);
            return 0;
        });
    }

    internal static void Run(Session session, int[] heads, int[] lengths, int dim, int rounds, int warmUpRounds = WarmUpRounds)
    {
        session.Expect(heads.Length * lengths.Length + 1);
        session.Step("calls, warming up");
        foreach (Pass pass in new[] { Pass.Forward, Pass.Both })
            Turns(1, 32, dim, pass, warmUpRounds);
        Table table = session.Begin(new Table(
            "calls", $"Microseconds of one call, B = 1, d = {dim}, float32, full: medians of {rounds} rounds, quartiles in brackets; \"engine\": the kernels' passes alone, no tensors; \"x\": how many times as long as flash, of turns in the same round.",
            new("H", "D"), new("N", "D"), new("pass"), new("flash us", "F1"), new("engine us", "F1"), new("sdpa us", "F1"), new("sdpa / flash", "F2", "x"), new("naive us", "F1"), new("naive / flash", "F2", "x"), new("disturbed")));
        foreach (int h in heads)
            foreach (int n in lengths)
            {
                session.Step($"calls, H = {h}, N = {n}");
                foreach (Pass pass in new[] { Pass.Forward, Pass.Both })
                {
                    MachineState before = MachineState.Now();
                    double[][] s = Turns(h, n, dim, pass, rounds);
                    string disturbed = Disturbance.Between(before, MachineState.Now(), get_num_threads());
                    session.Row(table, h, n, pass == Pass.Forward ? "forward" : "forward + backward", Microseconds(s[0]), Microseconds(s[1]), Microseconds(s[2]), Spread.OfRatios(s[2], s[0]), Microseconds(s[3]), Spread.OfRatios(s[3], s[0]), disturbed);
                }
            }
        session.End(table);

        static Spread Microseconds(double[] seconds) => 1e6 * Spread.Of(seconds);
    }

    /// <summary>Seconds of flash, engine, sdpa and naive.</summary>
    private static double[][] Turns(int heads, int n, int dim, Pass pass, int rounds)
    {
        using var scope = NewDisposeScope();
        using var engine = new EnginePasses(ElementType.Float32, heads, n, dim, false, get_num_threads());
        engine.Forward(); // what the first backward pass reads
        Func<double>[] all = [Of(Contestant.Flash), Measure.Timed(pass == Pass.Forward ? engine.Forward : Both), Of(Contestant.Sdpa), Of(Contestant.Naive)];
        return Measure.InTurn(_ => rounds, SecondsPerTurn, all);

        Func<double> Of(string name)
        {
            var workload = new Workload(Contestant.Named(name), new AttentionCase { Heads = heads, KeyHeads = heads, Queries = n, Keys = n, Dim = dim, ValueDim = dim });
            return () => workload.Run(pass);
        }

        void Both()
        {
            engine.Forward();
            engine.Backward();
        }
    }
}
