using System.CommandLine;
using AttentionBench.Cli;
using AttentionBench.Contestants;
using AttentionBench.Measuring;
using AttentionBench.Output;
using TorchFlash;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionBench.Verbs;

/// <summary>
/// Attention alone against attention between two linear layers: whether libtorch's threads, which keep spinning for a while
/// after each of its operators, get in the way of ours.
/// </summary>
internal static class MixedCommand
{
    public static Command Command()
    {
        Option<int[]> lengths = Options.Wholes("--n", "Sequence lengths.", [128, 512, 2048]);
        Option<int?> heads = Options.Whole("--heads", "Number of heads.", 12), dim = Options.Whole("--dim", "Head dimension.", 64), repeat = Options.Whole("--repeat", "Rounds.", 15, 1, 100_000);
        var command = new Command("mixed", "Attention alone against attention between linear layers.") { lengths, heads, dim, repeat };
        return Session.On(command, true, [Options.Json, Options.Csv], parsed => session =>
        {
            Run(session, parsed.GetValue(lengths)!, parsed.GetValue(heads)!.Value, parsed.GetValue(dim)!.Value, parsed.GetValue(repeat)!.Value);
            return 0;
        });
    }

    internal static void Run(Session session, int[] lengths, int heads, int dim, int rounds)
    {
        session.Expect(2 * lengths.Length);
        Table table = session.Begin(new Table(
            "mixed", $"Causal, forward, B = 1, H = {heads}, d = {dim}, float32; the time of the attention call alone is counted, alone and between linear layers in turn: medians of {rounds} rounds, quartiles in brackets.",
            new("N", "D"), new("attention"), new("alone ms", "F2"), new("between linear layers ms", "F2"), new("ratio", "F2", "x"), new("disturbed")));
        foreach (int n in lengths)
            foreach (string name in new[] { Contestant.Flash, Contestant.Sdpa })
            {
                session.Step($"{name} between linear layers, N = {n}");
                MachineState before = MachineState.Now();
                double[][] seconds = Turns(name == Contestant.Flash, heads, n, dim, rounds);
                session.Row(table, n, name, 1e3 * Spread.Of(seconds[0]), 1e3 * Spread.Of(seconds[1]), Spread.OfRatios(seconds[1], seconds[0]), Disturbance.Between(before, MachineState.Now(), get_num_threads()));
            }
        session.End(table);
    }

    /// <summary>Seconds of a call alone and of one between layers. A turn is a block of calls, whose first one, after the other kind, is not counted.</summary>
    private static double[][] Turns(bool useFlash, int heads, int n, int dim, int rounds)
    {
        const int block = 5;
        using var scope = NewDisposeScope();
        using IDisposable inference = no_grad();
        manual_seed(1);
        int width = heads * dim;
        TorchSharp.Modules.Linear input = nn.Linear(width, 3 * width), output = nn.Linear(width, width);
        Tensor x = randn([1, n, width]);
        Tensor[] prepared = Heads(input.call(x));
        return Measure.InTurn(_ => rounds, 0, () => Block(() => Timed(prepared).Seconds), () => Block(() =>
        {
            (Tensor attended, double seconds) = Timed(Heads(input.call(x)));
            output.call(attended.transpose(1, 2).reshape(1, n, width));
            return seconds;
        }));

        Tensor[] Heads(Tensor packed) => [.. packed.view(1, n, 3, heads, dim).unbind(2).Select(t => t.transpose(1, 2))];

        (Tensor Output, double Seconds) Timed(Tensor[] qkv)
        {
            Tensor? result = null;
            double seconds = Measure.Seconds(() => result = useFlash
                ? flash.nn.functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal: true)
                : nn.functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_casual: true));
            return (result!, seconds);
        }

        static double Block(Func<double> call) => Spread.Of(Enumerable.Range(0, block).Select(_ =>
        {
            using var step = NewDisposeScope();
            return call();
        }).ToArray()[1..]).Median;
    }
}
