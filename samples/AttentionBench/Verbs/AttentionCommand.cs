using System.CommandLine;
using System.Runtime.InteropServices;
using AttentionBench.Cli;
using AttentionBench.Contestants;
using AttentionBench.Measuring;
using AttentionBench.Output;
using AttentionBench.Plots;
using Gpt2;
using Gpt2.Cli;
using TorchFlash.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionBench.Verbs;

/// <summary>What the <c>attention</c> verb measures of its cases.</summary>
internal sealed record AttentionPlan
{
    /// <summary>Cases that differ in length alone are a line of a picture.</summary>
    public required IReadOnlyList<AttentionCase> Cases { get; init; }

    public IReadOnlyList<Contestant> Contestants { get; init; } = Contestant.All;

    public IReadOnlyList<Pass> Passes { get; init; } = [Pass.Forward, Pass.Both];

    /// <summary>Seconds for the rounds of a pass of a case.</summary>
    public double Seconds { get; init; } = 2;

    /// <summary>Rounds; null: as many as fit into the seconds.</summary>
    public int? Rounds { get; init; }

    /// <summary>Whether a product of libtorch's comes before every call.</summary>
    public bool IsMixed { get; init; }

    /// <summary>Whether peak memory is measured, in a process per case and contestant.</summary>
    public bool Memory { get; init; } = true;

    /// <summary>Whether the first call is timed, in a process per case and contestant.</summary>
    public bool FirstCall { get; init; }

    /// <summary>Begins the names of tables and pictures.</summary>
    public string Key { get; init; } = "";
}

/// <summary>
/// flash against libtorch's SDPA, the naive composition and torch.nn.MultiheadAttention, and against the multiply-add ceiling: times turn by turn in one
/// process, memory and first calls in a process per case.
/// </summary>
internal static class AttentionCommand
{
    /// <summary>Matrices of scores may take this share of the machine's memory.</summary>
    internal const double MemoryShare = 0.6;

    private const string None = "none";
    private const double Mebi = 1 << 20;

    /// <summary>What came of trying a contestant on a short case of a kind.</summary>
    private static readonly Dictionary<(Contestant, AttentionCase), string?> s_failures = [];

    public static Command Command()
    {
        Option<string[]> contestants = Options.Choices("--contestants", "Who takes part; mha: both modules. flash always does.", [Contestant.Flash, Contestant.Sdpa, Contestant.Naive, "mha"], [Contestant.Flash, Contestant.Sdpa, Contestant.Naive, "mha"]);
        Option<string> type = Options.Type(ElementType.Float32, ElementType.Float64, ElementType.BFloat16, ElementType.Float16);
        Option<int[]> lengths = Options.Wholes("--n", "Numbers of queries.", [512, 1024, 2048, 4096, 8192, 16384]);
        Option<int?> keys = Options.WholeOrNone("--nk", "Number of keys, if not that of queries.");
        Option<int?> batch = Options.Whole("--batch", "Batch entries.", 1), heads = Options.Whole("--heads", "Heads.", 12);
        Option<int?> keyHeads = Options.WholeOrNone("--key-heads", "Heads of keys and values; they divide --heads.");
        Option<int?> dim = Options.Whole("--dim", "Head dimension.", 64), valueDim = Options.WholeOrNone("--value-dim", "Head dimension of values, if another.");
        Option<string> causal = Options.Causal();
        Option<string> mask = Options.Choice("--mask", "padding: three quarters of the keys; bool: every other pair.", None, "padding", "bool");
        Option<string> bias = Options.Choice("--bias", "An additive matrix (Nq, Nk), without or with a gradient of its own.", None, "constant", "gradient");
        Option<double?> dropout = Options.Real("--dropout", "Dropout probability.", 0, 0, 0.99);
        Option<int?> window = Options.Whole("--window", "Keys that a query sees, back from its own; 0: all.", 0, 0);
        Option<string[]> passes = Options.Choices("--pass", "Which passes are timed.", ["forward", "backward", "both"], ["forward", "both"]);
        Option<double?> seconds = Options.Real("--seconds", "Seconds for the rounds of a pass of a case.", 2, 0.001, 3600);
        Option<int?> repeat = Options.WholeOrNone("--repeat", "Rounds, instead of as many as fit into --seconds.", 1, 100_000);
        var mixed = new Option<bool>("--mixed") { Description = "A product of matrices by libtorch comes before every call, as in a model." };
        var noMemory = new Option<bool>("--no-memory") { Description = "No peak memory." };
        var first = new Option<bool>("--first-call") { Description = "Also the first call of a process." };
        var command = new Command("attention", "flash against libtorch's SDPA, MultiheadAttention, the naive composition and the multiply-add ceiling.")
        {
            contestants, type, lengths, keys, batch, heads, keyHeads, dim, valueDim, causal, mask, bias, dropout, window, passes, seconds, repeat, mixed, noMemory, first,
        };
        return Session.On(command, true, [Options.Json, Options.Csv, Options.Svg], parsed =>
        {
            int h = parsed.GetValue(heads)!.Value, hk = parsed.GetValue(keyHeads) ?? h, d = parsed.GetValue(dim)!.Value;
            if (h % hk != 0)
                throw new UserException($"{keyHeads.Name} must divide {heads.Name} {h}, but is {hk}.");
            AttentionCase[] cases = [.. from isCausal in Options.Masks(parsed, causal) from n in parsed.GetValue(lengths)! select new AttentionCase
            {
                Batch = parsed.GetValue(batch)!.Value,
                Heads = h,
                KeyHeads = hk,
                Queries = n,
                Keys = parsed.GetValue(keys) ?? n,
                Dim = d,
                ValueDim = parsed.GetValue(valueDim) ?? d,
                Type = Options.Type(parsed, type),
                Causal = isCausal,
                Mask = parsed.GetValue(mask) switch { "padding" => MaskKind.Padding, "bool" => MaskKind.Full, _ => MaskKind.None },
                Bias = parsed.GetValue(bias) switch { "constant" => BiasKind.Constant, "gradient" => BiasKind.Gradient, _ => BiasKind.None },
                Dropout = parsed.GetValue(dropout)!.Value,
                Window = parsed.GetValue(window)!.Value,
            }];
            if (cases.FirstOrDefault(c => c.Window > 0 && (c.Queries > c.Keys || c.Mask == MaskKind.Padding)) is not null)
                throw new UserException($"{window.Name} takes as many keys as queries ({keys.Name}), and not {mask.Name} padding: else queries are left without any key, of which contestants make different things.");
            string[] named = parsed.GetValue(contestants)!;
            var plan = new AttentionPlan
            {
                Cases = cases,
                Contestants = [.. Contestant.All.Where(c => c.Name == Contestant.Flash || (c.IsModule ? named.Contains("mha") : named.Contains(c.Name)))],
                Passes = [.. parsed.GetValue(passes)!.Select(p => Enum.Parse<Pass>(p, ignoreCase: true)).Distinct()],
                Seconds = parsed.GetValue(seconds)!.Value,
                Rounds = parsed.GetValue(repeat),
                IsMixed = parsed.GetValue(mixed),
                Memory = !parsed.GetValue(noMemory),
                FirstCall = parsed.GetValue(first),
            };
            return session =>
            {
                Run(session, plan);
                return 0;
            };
        });
    }

    /// <summary>Measures a plan into tables and pictures of a session.</summary>
    internal static void Run(Session session, AttentionPlan plan)
    {
        session.Expect(plan.Cases.Count * (plan.Passes.Count + (plan.Memory ? 1 : 0) + (plan.FirstCall ? 1 : 0)));
        var takesPart = plan.Cases.ToDictionary(c => c, c => Contestants(session, plan, c));
        Contestant[] shown = [.. plan.Contestants.Where(c => takesPart.Values.Any(t => t.Contains(c)))];
        foreach (Pass pass in plan.Passes)
            Times(session, plan, pass, shown, takesPart);
        if (plan.Memory)
            PerProcess(session, plan, "memory", "Peak memory of forward and backward in a process of its own, over what was there before.", shown, takesPart, [("MiB", "F1")],
                (contestant, c) => [Probe.Memory(contestant, c) / Mebi]);
        if (plan.FirstCall)
            PerProcess(session, plan, "first-call", "The first forward pass of a process, libtorch loaded, and a later one.", shown, takesPart, [("first ms", "F1"), ("later ms", "F2")],
                (contestant, c) => Probe.FirstCall(contestant, c, Pass.Forward) is var result ? [1e3 * result.FirstSeconds, 1e3 * result.LaterSeconds] : []);
    }

    private static void Times(Session session, AttentionPlan plan, Pass pass, Contestant[] shown, Dictionary<AttentionCase, Contestant[]> takesPart)
    {
        string passName = pass == Pass.Both ? "forward and backward" : pass.ToString().ToLowerInvariant();
        Table table = session.Begin(new Table(
            plan.Key + (pass == Pass.Both ? "forward-backward" : passName),
            $"{Capitalised(passName)}, {plan.Cases[0].Shape}{(plan.IsMixed ? ", each call after a product of libtorch's" : "")}: medians, quartiles in brackets; \"x\": how many times as long as {Contestant.Flash} (modules: as flash's), of turns in the same round; share of the multiply-add ceiling of the same round.",
            [
                new("case"), new("N", "D"), .. plan.Cases.Any(c => c.Keys != c.Queries) ? new[] { new Column("Nk", "D") } : [],
                .. shown.SelectMany(c => new[] { new Column($"{c.Name} ms", "F2") }.Concat(
                    c.Baseline == c.Name ? c.Name == Contestant.Flash ? [new Column("share of ceiling", "P1")] : [] : [new Column($"{c.Name} / {c.Baseline}", "F2", "x")])),
                new("rounds", "D"), new("disturbed"),
            ]));
        FmaCeiling ceiling = FmaCeiling.OfEngine(plan.Cases[0].Type, get_num_threads());
        double best = ceiling.Best();
        var lines = new List<(AttentionCase Case, Contestant Contestant, Spread Seconds, Spread Ratio, Spread Share)>();
        foreach (AttentionCase c in plan.Cases)
        {
            session.Step($"{passName}, {c.Features}, N = {c.Queries}");
            using var scope = NewDisposeScope();
            Workload[] workloads = [.. takesPart[c].Select(contestant => new Workload(contestant, c))];
            CheckAgreement(workloads);
            Tensor a = randn(256, 256), b = randn(256, 256);
            MachineState before = MachineState.Now();
            double[][] seconds = Measure.InTurn(
                plan.Rounds is { } rounds ? _ => rounds : Measure.Within(plan.Seconds, 5, 51), 0.005,
                [ceiling.Seconds, .. workloads.Select<Workload, Func<double>>(w => () =>
                {
                    if (plan.IsMixed)
                        a.mm(b).Dispose();
                    return w.Run(pass);
                })]);
            string disturbed = Disturbance.Between(before, MachineState.Now(), get_num_threads(), ceiling.Flop / Spread.Of(seconds[0]).Median / best);
            Dictionary<string, double[]> of = workloads.Select((w, i) => (w.Contestant.Name, Seconds: seconds[i + 1])).ToDictionary(p => p.Name, p => p.Seconds);
            var cells = new List<object?> { c.Features, c.Queries };
            if (plan.Cases.Any(other => other.Keys != other.Queries))
                cells.Add(c.Keys);
            foreach (Contestant contestant in shown)
            {
                double[]? own = of.GetValueOrDefault(contestant.Name), baseline = of.GetValueOrDefault(contestant.Baseline);
                Spread? share = own is null ? null : c.Flop(pass) / ceiling.Flop * Spread.OfRatios(seconds[0], own);
                Spread? ratio = own is null || baseline is null ? null : Spread.OfRatios(own, baseline);
                cells.Add(own is null ? null : 1e3 * Spread.Of(own));
                if (contestant.Name == Contestant.Flash)
                    cells.Add(share);
                else if (contestant.Baseline != contestant.Name)
                    cells.Add(ratio);
                if (own is not null && ratio is { } r)
                    lines.Add((c, contestant, Spread.Of(own), r, share!.Value));
            }
            session.Row(table, [.. cells, seconds[0].Length, disturbed]);
        }
        session.End(table);
        if (plan.Cases.Select(c => c.Queries).Distinct().Count() < 2)
            return;
        string subtitle = $"{Capitalised(passName)}, {plan.Cases[0].Shape}, {get_num_threads()} threads; bars: the middle half of the rounds";
        foreach (bool isCausal in plan.Cases.Select(c => c.Causal).Distinct())
        {
            string suffix = $"{table.Key}-{(isCausal ? "causal" : "full")}", features = plan.Cases.First(c => c.Causal == isCausal).Features;
            session.Picture($"time-{suffix}", new LineChart($"Time, {features}", Length, new("Time", AxisScale.Log10, AxisUnit.Seconds), Series(isCausal, l => l.Seconds)) { Subtitle = subtitle });
            session.Picture($"speed-up-{suffix}", new LineChart($"Speed-up of flash, {features}", Length, new("Time over that of flash", AxisScale.Linear, AxisUnit.Ratio, 0, 1), Series(isCausal, l => l.Ratio)) { Subtitle = subtitle });
            session.Picture($"share-{suffix}", new LineChart($"Share of the multiply-add ceiling, {features}", Length, new("Share", AxisScale.Linear, AxisUnit.Share, 0, 1), Series(isCausal, l => l.Share)) { Subtitle = subtitle, References = [new(1, $"{ceiling.Bits}-bit multiply-adds")] });
        }

        Series[] Series(bool isCausal, Func<(AttentionCase Case, Contestant Contestant, Spread Seconds, Spread Ratio, Spread Share), Spread> value) =>
        [
            .. lines.Where(l => l.Case.Causal == isCausal).GroupBy(l => l.Contestant).Select(g => new Series(
                g.Key.Name, [.. g.OrderBy(l => l.Case.Queries).Select(l => value(l)).Zip(g.OrderBy(l => l.Case.Queries), (s, l) => new PlotPoint(l.Case.Queries, s.Median, s.Lower, s.Upper))],
                Colour(g.Key))),
        ];
    }

    private static Axis Length { get; } = new("N", AxisScale.Log2);

    private static int Colour(Contestant contestant) => Contestant.All.ToList().IndexOf(contestant);

    /// <summary>A table of what processes of their own measure, and a picture of it where it is memory.</summary>
    private static void PerProcess(
        Session session, AttentionPlan plan, string key, string title, Contestant[] shown, Dictionary<AttentionCase, Contestant[]> takesPart, (string Name, string Format)[] values,
        Func<Contestant, AttentionCase, double[]> measure)
    {
        Table table = session.Begin(new Table(plan.Key + key, $"{title} {plan.Cases[0].Shape}.", [new("case"), new("N", "D"), .. from c in shown from v in values select new Column($"{c.Name} {v.Name}", v.Format)]));
        var points = new List<(AttentionCase Case, Contestant Contestant, double Value)>();
        foreach (AttentionCase c in plan.Cases)
        {
            session.Step($"{key}, {c.Features}, N = {c.Queries}");
            var cells = new List<object?> { c.Features, c.Queries };
            foreach (Contestant contestant in shown)
            {
                double[]? measured = takesPart[c].Contains(contestant) ? measure(contestant, c) : null;
                cells.AddRange(values.Select((_, i) => measured is null ? null : (object)measured[i]));
                if (measured is [> 0, ..])
                    points.Add((c, contestant, measured[0]));
            }
            session.Row(table, [.. cells]);
        }
        session.End(table);
        if (values is not [("MiB", _)] || points.Select(p => p.Case.Queries).Distinct().Count() < 2)
            return;
        foreach (bool isCausal in points.Select(p => p.Case.Causal).Distinct())
            session.Picture($"{plan.Key}{key}-{(isCausal ? "causal" : "full")}", new LineChart(
                $"Peak memory, {plan.Cases.First(c => c.Causal == isCausal).Features}", Length, new("Growth of the process", AxisScale.Log2, AxisUnit.Bytes),
                [.. points.Where(p => p.Case.Causal == isCausal).GroupBy(p => p.Contestant).Select(g => new Series(g.Key.Name, [.. g.OrderBy(p => p.Case.Queries).Select(p => new PlotPoint(p.Case.Queries, p.Value * Mebi))], Colour(g.Key)))])
            {
                Subtitle = $"Forward and backward, {plan.Cases[0].Shape}, a process each",
            });
    }

    /// <summary>Who can compute a case on this machine; who cannot is noted with the reason, once.</summary>
    private static Contestant[] Contestants(Session session, AttentionPlan plan, AttentionCase c)
    {
        double available = MemoryShare * GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        return [.. plan.Contestants.Where(contestant =>
        {
            string? reason = contestant.Refusal(c)
                ?? (contestant.ScoreBytes(c) > available
                    ? FormattableString.Invariant($"at N = {c.Queries} its matrices of scores take {contestant.ScoreBytes(c) / (1 << 30):F1} GiB, more than {MemoryShare:P0} of this machine's memory")
                    : Failure(contestant, c));
            if (reason is not null && $"Without {contestant.Name}, {c.Features}: {reason}." is var note && !session.Notes.Contains(note))
                session.Note(note);
            return reason is null;
        })];
    }

    /// <summary>Why this libtorch cannot compute such a case: tried on a short one, often enough for the runtime to compile its code for good.</summary>
    private static string? Failure(Contestant contestant, AttentionCase c)
    {
        AttentionCase small = c with { Queries = 8, Keys = 8 };
        if (!s_failures.TryGetValue((contestant, small), out string? reason))
            s_failures[(contestant, small)] = reason = Try(contestant, small);
        return reason;
    }

    private static string? Try(Contestant contestant, AttentionCase small)
    {
        const int untilCompiled = 40;
        try
        {
            // Of an operator without a kernel for 16-bit types, TorchSharp ends the process.
            if (small.Type is ElementType.BFloat16 or ElementType.Float16)
                Probe.Memory(contestant, small);
            using var scope = NewDisposeScope();
            var workload = new Workload(contestant, small);
            for (int call = 0; call < untilCompiled; call++)
                workload.ForwardBackward();
            return null;
        }
        catch (ExternalException e)
        {
            return $"libtorch {__version__}: {e.Message.Split('\n')[0]}";
        }
        catch (UserException e)
        {
            return $"libtorch {__version__}: {e.Message}";
        }
    }

    private static void CheckAgreement(Workload[] workloads)
    {
        foreach (IGrouping<string, Workload> group in workloads.GroupBy(w => w.Contestant.Baseline))
            foreach (Workload other in group.Skip(1))
                if (group.First().Difference(other) is var difference && difference is not < 1 || difference > Workload.Agreement(other.Case.Type))
                    throw new UserException($"{group.First().Contestant.Name} and {other.Contestant.Name} do not compute the same at {other.Case.Features}, N = {other.Case.Queries}: they differ by {difference:E1}.");
    }

    private static string Capitalised(string text) => char.ToUpperInvariant(text[0]) + text[1..];
}
