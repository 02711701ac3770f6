using System.CommandLine;
using System.Globalization;
using AttentionBench.Cli;
using AttentionBench.Contestants;
using AttentionBench.Engine;
using AttentionBench.Measuring;
using AttentionBench.Output;
using AttentionBench.Plots;
using Gpt2;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cpu;

namespace AttentionBench.Verbs;

/// <summary>
/// The CPU engine's arithmetic throughput as a share of the multiply-add ceiling measured between its runs. Counted are
/// 4 H Nq Nk d operations forward and 2.5 times that backward (5 products with the recomputed S against 2), of the pairs that are there.
/// </summary>
internal static class KernelCommand
{
    private const int Attempts = 3;

    internal sealed record Case(ElementType Type, int Heads, int Length, int HeadDim, bool Causal, int Threads)
    {
        public string Name => $"H={Heads} N={Length} d={HeadDim} {(Causal ? "causal" : "full")} {Threads}T";

        public double Flop(Pass pass) => new AttentionCase { Heads = Heads, KeyHeads = Heads, Queries = Length, Keys = Length, Dim = HeadDim, ValueDim = HeadDim, Causal = Causal }.Flop(pass);
    }

    /// <param name="Ceiling">FLOP/s of the ceiling between the runs.</param>
    /// <param name="Forward">FLOP/s.</param>
    /// <param name="Backward">FLOP/s.</param>
    /// <param name="ForwardShare">Of the ceiling in the same round.</param>
    /// <param name="BackwardShare">Of the ceiling in the same round.</param>
    /// <param name="Disturbed">By what.</param>
    private sealed record Result(double Ceiling, double Forward, double Backward, Spread ForwardShare, Spread BackwardShare, string Disturbed);

    public static Command Command()
    {
        Option<int[]> lengths = Options.Wholes("--n", "Sequence lengths (default: 1024 and 4096 with H=12 d=64, 2048 with H=8 d=128).", []);
        Option<int?> heads = Options.Whole("--heads", "Batch times heads.", 12), dim = Options.Whole("--dim", "Head dimension.", 64);
        Option<int[]> threads = Options.Wholes("--threads", "Numbers of threads.", [.. new[] { 1, Environment.ProcessorCount }.Distinct()], 1, 1024);
        Option<string> causal = Options.Causal();
        Option<string> type = Options.Type(ElementType.Float32, ElementType.Float64, ElementType.BFloat16, ElementType.Float16);
        var filter = new Option<string>("--filter") { Description = "Only cases whose name contains this text.", DefaultValueFactory = _ => "" };
        Option<int?> repeat = Options.Whole("--repeat", "Rounds per case.", 7, 1, 100_000);
        var command = new Command("kernel", "The CPU engine against the multiply-add ceiling of the machine (no libtorch).") { lengths, heads, dim, threads, causal, type, filter, repeat };
        return Session.On(command, false, [Options.Json, Options.Csv, Options.Svg], parsed =>
        {
            int[] n = parsed.GetValue(lengths)!;
            (int H, int N, int D)[] shapes = n.Length > 0
                ? [.. n.Select(length => (parsed.GetValue(heads)!.Value, length, parsed.GetValue(dim)!.Value))]
                : [(12, 1024, 64), (12, 4096, 64), (8, 2048, 128)];
            IEnumerable<Case> cases = from s in shapes from mask in Options.Masks(parsed, causal) from t in parsed.GetValue(threads)! select new Case(Options.Type(parsed, type), s.H, s.N, s.D, mask, t);
            cases = cases.Where(c => c.Name.Contains(parsed.GetValue(filter)!, StringComparison.OrdinalIgnoreCase));
            if (!cases.Any())
                throw new UserException($"{filter.Name}: no case has '{parsed.GetValue(filter)}' in its name.");
            if (Refusal(Options.Type(parsed, type)) is { } refusal)
                throw new UserException($"{type.Name} {parsed.GetValue(type)}: {refusal}");
            return session =>
            {
                session.Line(CpuEngine.Instance.Describe());
                Run(session, "kernel", [.. cases], parsed.GetValue(repeat)!.Value);
                return 0;
            };
        });
    }

    /// <summary>Why the engine has no passes for a type; null where it has.</summary>
    internal static string? Refusal(ElementType type) =>
        CpuEngine.Instance.Refusal(new AttentionProblem { Batch = 1, Heads = 1, QueryLength = 1, KeyLength = 1, HeadDim = 1, ValueDim = 1, Scale = 1, ElementType = type });

    /// <summary>Measures cases of one element type into a table and a picture of a session.</summary>
    internal static void Run(Session session, string key, IReadOnlyList<Case> cases, int rounds)
    {
        ElementType type = cases[0].Type;
        session.Expect(cases.Count);
        var starts = new Dictionary<int, double>();
        foreach (int threads in cases.Select(c => c.Threads).Distinct())
        {
            starts[threads] = FmaCeiling.OfEngine(type, threads).Best();
            IEnumerable<string> others = FmaCeiling.Widths.Where(bits => bits > CpuEngine.Instance.VectorBits).Select(bits => Invariant($", {new FmaCeiling(type, bits, threads).Best() / 1e9:F1} at {bits} bits"));
            session.Note(Invariant($"ceiling, {threads} threads, {Options.Name(type.Computed())}: {starts[threads] / 1e9:F1} GFLOP/s at the engine's {CpuEngine.Instance.VectorBits} bits{string.Concat(others)}"));
        }
        Table table = session.Begin(new Table(key, $"The engine's passes as shares of the multiply-add ceiling of the same round, {Options.Name(type)}: medians of {rounds} rounds, quartiles in brackets.",
            new("case"), new("ceiling GFLOP/s", "F1"), new("forward GFLOP/s", "F1"), new("forward share", "P1"), new("backward GFLOP/s", "F1"), new("backward share", "P1"), new("disturbed")));
        var results = new List<(Case Case, Result Result)>();
        foreach (Case c in cases)
        {
            session.Step($"{Options.Name(type)}, {c.Name}");
            Result result = MeasureCase(c, rounds, starts[c.Threads]);
            for (int attempt = 1; attempt < Attempts && result.Disturbed.Length > 0; attempt++)
                result = MeasureCase(c, rounds, starts[c.Threads]);
            results.Add((c, result));
            session.Row(table, c.Name, result.Ceiling / 1e9, result.Forward / 1e9, result.ForwardShare, result.Backward / 1e9, result.BackwardShare, result.Disturbed);
        }
        session.End(table);
        session.Picture(key, new BarChart(
            "Share of the multiply-add ceiling", [.. results.Select(r => r.Case.Name)], new("Share", AxisScale.Linear, AxisUnit.Share, 0, 1),
            [new("forward", [.. results.Select(r => Point(r.Result.ForwardShare))]), new("backward", [.. results.Select(r => Point(r.Result.BackwardShare))])])
        {
            Subtitle = $"The CPU engine alone, {Options.Name(type)}, {CpuEngine.Instance.VectorBits}-bit vectors",
            Width = Math.Max(860, 90 * results.Count),
        });

        static PlotPoint Point(Spread s) => new(0, s.Median, s.Lower, s.Upper);
    }

    /// <summary>Forward, backward and ceiling in turn.</summary>
    private static Result MeasureCase(Case c, int rounds, double start)
    {
        using var passes = new EnginePasses(c.Type, c.Heads, c.Length, c.HeadDim, c.Causal, c.Threads);
        FmaCeiling ceiling = FmaCeiling.OfEngine(c.Type, c.Threads);
        passes.Forward(); // what the first backward pass reads
        MachineState before = MachineState.Now();
        double[][] seconds = Measure.InTurn(_ => rounds, 0.005, Measure.Timed(passes.Forward), ceiling.Seconds, Measure.Timed(passes.Backward));
        double median = ceiling.Flop / Spread.Of(seconds[1]).Median;
        return new Result(
            median, c.Flop(Pass.Forward) / Spread.Of(seconds[0]).Median, c.Flop(Pass.Backward) / Spread.Of(seconds[2]).Median,
            c.Flop(Pass.Forward) / ceiling.Flop * Spread.OfRatios(seconds[1], seconds[0]), c.Flop(Pass.Backward) / ceiling.Flop * Spread.OfRatios(seconds[1], seconds[2]),
            Disturbance.Between(before, MachineState.Now(), c.Threads, median / start));
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
