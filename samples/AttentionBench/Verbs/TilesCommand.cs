using System.CommandLine;
using AttentionBench.Cli;
using AttentionBench.Contestants;
using AttentionBench.Engine;
using AttentionBench.Measuring;
using AttentionBench.Output;
using AttentionBench.Plots;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cpu;

namespace AttentionBench.Verbs;

/// <summary>The engine's speed over the sizes of its tiles, beside the sizes that it takes from the caches of this machine and of a smaller one.</summary>
internal static class TilesCommand
{
    /// <summary>A server processor of 2017 whose hardware threads are all at work.</summary>
    private static readonly Caches s_small = new(32 << 10, 2, 1 << 20, 2);

    public static Command Command()
    {
        Option<int[]> dims = Options.Wholes("--dim", "Head dimensions.", [32, 64, 128, 256]);
        Option<int?> length = Options.Whole("--n", "Sequence length.", 2048), heads = Options.Whole("--heads", "Batch times heads.", 4), threads = Options.Whole("--threads", "Threads.", 1, 1, 1024);
        Option<int?> repeat = Options.Whole("--repeat", "Rounds.", 5, 1, 100_000);
        Option<string> type = Options.Type(ElementType.Float32, ElementType.Float64, ElementType.BFloat16, ElementType.Float16);
        var command = new Command("tiles", "The CPU engine over the sizes of its tiles (no libtorch).") { dims, length, heads, threads, type, repeat };
        return Session.On(command, false, [Options.Json, Options.Csv, Options.Svg], parsed => session =>
        {
            session.Line(CpuEngine.Instance.Describe());
            Run(session, Options.Type(parsed, type), parsed.GetValue(dims)!, parsed.GetValue(heads)!.Value, parsed.GetValue(length)!.Value, parsed.GetValue(threads)!.Value, parsed.GetValue(repeat)!.Value);
            return 0;
        });
    }

    internal static void Run(Session session, ElementType type, int[] dims, int heads, int length, int threads, int rounds)
    {
        session.Expect(2 * dims.Length);
        FmaCeiling ceiling = FmaCeiling.OfEngine(type, threads);
        int[] streamed = TilePlan.StreamedSizes.ToArray(), stationary = TilePlan.StationarySizes.ToArray();
        Table table = session.Begin(new Table(
            "tiles", $"Shares of the multiply-add ceiling of the same round over the rows of the side that stays and of the side that passes by, H = {heads}, N = {length}, {Options.Name(type)}, {threads} threads: medians of {rounds} rounds, quartiles in brackets.",
            [new("d"), new("pass"), new("stays"), .. streamed.Reverse().Select(rows => new Column($"{rows} pass by", "P1")), new("taken here"), new("taken with 16 and 512 KiB")]));
        foreach (int dim in dims)
        {
            using var passes = new EnginePasses(type, heads, length, dim, causal: false, threads);
            passes.Forward();
            foreach (Pass pass in new[] { Pass.Forward, Pass.Backward })
            {
                bool isBackward = pass == Pass.Backward;
                session.Step($"d = {dim}, {pass}");
                TileSizes[] sizes = [.. from stays in stationary from passing in streamed.Reverse() select isBackward ? new TileSizes(passing, stays) : new TileSizes(stays, passing)];
                Func<double>[] contestants = [ceiling.Seconds, .. sizes.Select(size => Measure.Timed(Of(size)))];
                double[][] seconds = Measure.InTurn(_ => rounds, 0.005, contestants);
                double flop = new AttentionCase { Heads = heads, KeyHeads = heads, Queries = length, Keys = length, Dim = dim, ValueDim = dim }.Flop(pass);
                Spread[] shares = [.. sizes.Select((_, i) => flop / ceiling.Flop * Spread.OfRatios(seconds[0], seconds[i + 1]))];
                foreach ((int row, int stays) in stationary.Index())
                    session.Row(table, [$"{dim}", isBackward ? "backward" : "forward", $"{stays}", .. shares.Skip(row * streamed.Length).Take(streamed.Length).Cast<object?>(), row > 0 ? "" : Taken(CpuEngine.Instance.Plan.Caches), row > 0 ? "" : Taken(s_small)]);
                session.Picture($"tiles-{(isBackward ? "backward" : "forward")}-{dim}", new LineChart(
                    $"Speed over the sizes of tiles, {(isBackward ? "backward" : "forward")}, d = {dim}", new(isBackward ? "Queries that pass by" : "Keys that pass by", AxisScale.Log2), new("Share of the multiply-add ceiling", AxisScale.Linear, AxisUnit.Share, 0, 1),
                    [.. stationary.Index().Select(s => new Series(
                        $"{s.Item} {(isBackward ? "keys" : "queries")} stay",
                        [.. streamed.Reverse().Index().Select(p => Point(p.Item, shares[s.Index * streamed.Length + p.Index]))]))])
                { Subtitle = $"N = {length}, {Options.Name(type)}, {CpuEngine.Instance.VectorBits}-bit vectors" });

                Action Of(TileSizes size)
                {
                    CpuEngine engine = new(
                        new(CpuEngine.Instance.VectorBits, "as the engine has them"), CpuEngine.Instance.Plan.With(TuningResults.None.With(isBackward, type, dim, size)), isAssembled: true);
                    return isBackward ? () => engine.Backward(passes.Problem, passes.BackwardArguments, passes.Options) : () => engine.Forward(passes.Problem, passes.ForwardArguments, passes.Options);
                }

                string Taken(Caches caches)
                {
                    TilePlan plan = new(caches);
                    TileSizes taken = isBackward ? plan.Backward(passes.Problem) : plan.Forward(passes.Problem);
                    return isBackward ? $"{taken.Keys} x {taken.Queries}" : $"{taken.Queries} x {taken.Keys}";
                }
            }
        }
        session.End(table);

        static PlotPoint Point(int x, Spread s) => new(x, s.Median, s.Lower, s.Upper);
    }
}
