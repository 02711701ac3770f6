using System.CommandLine;
using AttentionBench.Cli;
using AttentionBench.Contestants;
using AttentionBench.Engine;
using AttentionBench.Measuring;
using AttentionBench.Output;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cpu;

namespace AttentionBench.Verbs;

/// <summary>Where the time of a forward pass goes: its parts alone, their sum and the pass itself, against the time of its multiply-adds.</summary>
internal static class PartsCommand
{
    public static Command Command()
    {
        Option<int[]> dims = Options.Wholes("--dim", "Head dimensions.", [32, 64, 128]), lengths = Options.Wholes("--n", "Sequence lengths.", [1024, 4096]);
        Option<int?> heads = Options.Whole("--heads", "Batch times heads of the whole pass.", 4), repeat = Options.Whole("--repeat", "Rounds.", 7, 1, 100_000);
        Option<string> type = Options.Type(ElementType.Float32, ElementType.Float64);
        var command = new Command("parts", "Where the time of the CPU engine's forward pass goes, one thread (no libtorch).") { dims, lengths, heads, type, repeat };
        return Session.On(command, false, [Options.Json, Options.Csv], parsed => session =>
        {
            session.Line(CpuEngine.Instance.Describe());
            Run(session, Options.Type(parsed, type), parsed.GetValue(dims)!, parsed.GetValue(lengths)!, parsed.GetValue(heads)!.Value, parsed.GetValue(repeat)!.Value);
            return 0;
        });
    }

    internal static void Run(Session session, ElementType type, int[] dims, int[] lengths, int heads, int rounds)
    {
        session.Expect(dims.Length * lengths.Length);
        FmaCeiling ceiling = FmaCeiling.OfEngine(type, threads: 1);
        Table table = session.Begin(new Table(
            "parts", $"Parts of a forward pass, each alone and in the second-level cache, in per cent of the time that the multiply-adds of the pass take at the ceiling of the same round (100 % would be nothing else): {Options.Name(type)}, full, H = {heads}, one thread, medians of {rounds} rounds, quartiles in brackets.",
            new("d"), new("N"), new("S = Q Kᵀ", "P1"), new("softmax", "P1"), new("O += P V", "P1"), new("Qᵀ, O / l", "P1"), new("sum", "P1"), new("whole pass", "P1"), new("share of the ceiling", "P1")));
        foreach (int dim in dims)
            foreach (int length in lengths)
            {
                session.Step($"d = {dim}, N = {length}");
                using var passes = new EnginePasses(type, heads, length, dim, causal: false, threads: 1);
                using var parts = ForwardParts.Of(passes.Problem);
                double[][] seconds = Measure.InTurn(
                    _ => rounds, 0.01, ceiling.Seconds, Measure.Timed(passes.Forward), Measure.Timed(parts.Scores), Measure.Timed(parts.Softmax), Measure.Timed(parts.Values), Measure.Timed(parts.Edges));
                var whole = new AttentionCase { Heads = heads, KeyHeads = heads, Queries = length, Keys = length, Dim = dim, ValueDim = dim };
                double flop = whole.Flop(Pass.Forward), ofTile = flop / heads / length * parts.Queries;
                Spread[] shares = [.. seconds.Skip(2).Select(part => ceiling.Flop / ofTile * Spread.OfRatios(part, seconds[0]))];
                double[] sums = [.. Enumerable.Range(0, rounds).Select(round => seconds.Skip(2).Sum(part => part[round]))];
                Spread pass = ceiling.Flop / flop * Spread.OfRatios(seconds[1], seconds[0]);
                session.Row(table, [$"{dim}", $"{length}", .. shares.Cast<object?>(), ceiling.Flop / ofTile * Spread.OfRatios(sums, seconds[0]), pass, pass.Reciprocal]);
            }
        session.End(table);
    }
}
