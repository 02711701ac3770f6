using System.CommandLine;
using System.Globalization;
using AttentionBench.Cli;
using AttentionBench.Measuring;
using AttentionBench.Output;
using AttentionBench.Plots;
using Gpt2;
using static TorchSharp.torch;

namespace AttentionBench.Verbs;

/// <summary>
/// What attention means to a whole training step: the GPT-2 sample's model under flash, libtorch's SDPA and the naive composition, each in a process
/// of its own. The processes take steps in turn where memory holds all of them at once.
/// </summary>
internal static class Gpt2Command
{
    /// <summary>Processes may take this share of the memory that is free.</summary>
    private const double MemoryShare = 0.85;

    public static Command Command()
    {
        Option<string> preset = Options.Choice("--preset", "Size of the model.", ["gpt2", .. Preset.All.Select(p => p.Name).Where(name => name != "gpt2")]);
        Option<int[]> contexts = Options.Wholes("--context", "Tokens of a sequence.", [1024, 4096]);
        string[] kinds = [.. Enum.GetNames<AttentionKind>().Select(name => name.ToLowerInvariant())];
        Option<string[]> attention = Options.Choices("--attention", "Whose attention.", kinds, kinds);
        Option<int?> batch = Options.Whole("--batch", "Sequences of a step.", 1), steps = Options.Whole("--steps", "Steps that are timed, after one that is not.", 3, 1, 100_000);
        var command = new Command("gpt2", "Step time and peak memory of training GPT-2 with each attention, a process each.") { preset, contexts, attention, batch, steps };
        return Session.On(command, true, [Options.Json, Options.Csv, Options.Svg], parsed => session =>
        {
            Run(
                session, parsed.GetValue(preset)!, parsed.GetValue(contexts)!, [.. parsed.GetValue(attention)!.Select(a => Enum.Parse<AttentionKind>(a, ignoreCase: true)).Distinct()],
                parsed.GetValue(batch)!.Value, parsed.GetValue(steps)!.Value);
            return 0;
        });
    }

    internal static void Run(Session session, string preset, int[] contexts, AttentionKind[] kinds, int batch, int steps)
    {
        session.Expect(contexts.Length * kinds.Length * (steps + 1));
        GptConfig config = Preset.Named(preset).Config(1);
        Table table = session.Begin(new Table(
            "gpt2", $"A training step of {preset} ({config.Layers} layers, {config.Heads} heads, width {config.Width}), batch {batch}, float32: medians of {steps} steps after a first one, quartiles in brackets; a process each, that took steps in turn unless it says alone; \"x\": how many times as long as flash.",
            new("context", "D"), new("attention"), new("step s", "F2"), new("over flash", "F2", "x"), new("peak GiB", "F2"), new("estimated GiB", "F2"), new("measured"), new("disturbed")));
        var times = new List<(int Context, AttentionKind Kind, Spread? Seconds, double Peak)>();
        foreach (int context in contexts)
        {
            Gpt2Request[] requests = [.. kinds.Select(kind => new Gpt2Request(preset, kind, context, batch, get_num_threads()))];
            double free = FreeBytes();
            Gpt2Request[] possible = [.. requests.Where(r => r.EstimatedBytes <= MemoryShare * free)];
            bool together = possible.Sum(r => r.EstimatedBytes) <= MemoryShare * free;
            MachineState before = MachineState.Now();
            IEnumerable<Gpt2Request[]> groups = together && possible.Length > 0 ? [possible] : possible.Select(r => new[] { r });
            (Gpt2Request Request, Gpt2Step[] Steps)[] measured = [.. groups.SelectMany(group => Steps(session, group, steps))];
            string disturbed = Disturbance.Between(before, MachineState.Now(measured.Sum(m => m.Steps[^1].ProcessorSeconds)), get_num_threads());
            double[]? flash = Array.Find(measured, m => m.Request.Attention == AttentionKind.Flash).Steps is { } own ? [.. own.Select(s => s.Seconds)] : null;
            foreach (Gpt2Request r in requests)
            {
                string name = r.Attention.ToString().ToLowerInvariant();
                double estimate = r.EstimatedBytes / (1 << 30);
                if (Array.Find(measured, m => m.Request == r).Steps is not { } taken)
                {
                    session.Row(table, context, name, null, null, null, estimate, string.Create(CultureInfo.InvariantCulture, $"refused: {free / (1 << 30):F1} GiB are free"), "");
                    continue;
                }
                double[] seconds = [.. taken.Select(s => s.Seconds)];
                double peak = taken[^1].PeakBytes / (double)(1 << 30);
                Spread? ratio = flash is null || !together ? null : Spread.OfRatios(seconds, flash);
                times.Add((context, r.Attention, Spread.Of(seconds), taken[^1].PeakBytes));
                session.Row(table, context, name, Spread.Of(seconds), ratio, peak, estimate, together ? "in turn" : "alone", disturbed);
            }
        }
        session.End(table);
        if (times.Count == 0)
            return;
        string[] groupsOfBars = [.. contexts.Select(c => $"context {c}")];
        session.Picture("gpt2-time", Bars("Training step of GPT-2", new("Seconds a step", AxisScale.Linear, AxisUnit.Seconds, 0), t => t.Seconds is { } s ? new(0, s.Median, s.Lower, s.Upper) : new(0, double.NaN)));
        session.Picture("gpt2-memory", Bars("Peak memory of training GPT-2", new("Resident set of the process", AxisScale.Linear, AxisUnit.Bytes, 0), t => new(0, t.Peak)));

        BarChart Bars(string title, Axis axis, Func<(int Context, AttentionKind Kind, Spread? Seconds, double Peak), PlotPoint> value) => new(
            title, groupsOfBars, axis,
            [.. kinds.Select(kind => new BarSeries(kind.ToString().ToLowerInvariant(), [.. contexts.Select(c => times.Exists(t => t.Context == c && t.Kind == kind) ? value(times.Find(t => t.Context == c && t.Kind == kind)) : new PlotPoint(0, double.NaN))]))])
        {
            Subtitle = $"{preset}, batch {batch}, float32, {get_num_threads()} threads; no bar: does not fit this machine's memory",
        };
    }

    /// <summary>Steps of all in turn; a first one of each is not counted.</summary>
    private static (Gpt2Request Request, Gpt2Step[] Steps)[] Steps(Session session, Gpt2Request[] requests, int steps)
    {
        var processes = new List<Gpt2Process>();
        try
        {
            processes.AddRange(requests.Select(r => new Gpt2Process(r)));
            Gpt2Step[][] taken = [.. processes.Select(_ => new Gpt2Step[steps])];
            for (int step = -1; step < steps; step++)
                for (int turn = 0; turn < processes.Count; turn++)
                {
                    int p = (turn + Math.Max(step, 0)) % processes.Count;
                    session.Step($"{requests[p].Preset}, {requests[p].Attention.ToString().ToLowerInvariant()}, context {requests[p].Context}");
                    Gpt2Step result = processes[p].Step();
                    if (step >= 0)
                        taken[p][step] = result;
                }
            return [.. requests.Zip(taken)];
        }
        finally
        {
            processes.ForEach(p => p.Dispose());
        }
    }

    /// <summary>Bytes that can be had without paging, of the machine or of what this process is confined to.</summary>
    private static double FreeBytes()
    {
        double most = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        string? line = File.Exists("/proc/meminfo") ? File.ReadLines("/proc/meminfo").FirstOrDefault(l => l.StartsWith("MemAvailable:", StringComparison.Ordinal)) : null;
        return line is null ? most : Math.Min(most, 1024.0 * long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture));
    }
}
