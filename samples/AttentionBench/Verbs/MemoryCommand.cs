using System.CommandLine;
using AttentionBench.Cli;
using AttentionBench.Contestants;
using AttentionBench.Engine;
using AttentionBench.Measuring;
using AttentionBench.Output;
using static TorchSharp.torch;

namespace AttentionBench.Verbs;

/// <summary>A long sequence through flash attention, forward and backward, within a limit of memory growth; then what is done to its scores.</summary>
internal static class MemoryCommand
{
    public static Command Command()
    {
        Option<int?> length = Options.Whole("--n", "Sequence length.", 32768), heads = Options.Whole("--heads", "Number of heads.", 12), dim = Options.Whole("--dim", "Head dimension.", 64);
        var causal = new Option<bool>("--causal") { Description = "With a causal mask." };
        Option<double?> limit = Options.Real("--limit", "Largest growth in GiB; more is a failure.", 2, 0, 1e6);
        Option<int?> scoreLength = Options.Whole("--scores", "Sequence length for masks, biases and dropout; 0: none.", 16384, 0);
        var command = new Command("memory", "Memory growth of a long forward and backward pass, plain and with what is done to its scores; fails above the limits.")
        {
            length, heads, dim, causal, limit, scoreLength,
        };
        return Session.On(command, true, [Options.Json, Options.Csv], parsed => session =>
        {
            const double gib = 1 << 30;
            int n = parsed.GetValue(length)!.Value, h = parsed.GetValue(heads)!.Value, d = parsed.GetValue(dim)!.Value;
            double most = parsed.GetValue(limit)!.Value;
            AttentionCase c = new() { Heads = h, KeyHeads = h, Queries = n, Keys = n, Dim = d, ValueDim = d, Causal = parsed.GetValue(causal) };
            session.Step($"N = {n}");
            (long bytes, double seconds) = Probe.Growth(Contestant.Named(Contestant.Flash), c);
            bool holds = bytes <= most * gib;
            session.Note(FormattableString.Invariant(
                $"flash forward + backward, {c.Shape}, N = {n}, {c.Features}: {seconds:F1} s, memory grew by {bytes / gib:F3} GiB ({(holds ? "within" : "ABOVE")} the limit of {most} GiB; the naive composition needs at least {Contestant.Named(Contestant.Naive).ScoreBytes(c) / gib:F0} GiB)"));
            if (parsed.GetValue(scoreLength) is > 0 and { } scored)
                holds &= Scores(session, c with { Queries = scored, Keys = scored, Causal = false });
            return holds ? 0 : 1;
        });
    }

    /// <summary>Nothing may take a byte more for every pair of one head.</summary>
    private static bool Scores(Session session, AttentionCase c)
    {
        const double mib = 1 << 20;
        double limit = (double)c.Keys * c.Keys;
        Table table = session.Begin(new Table(
            "memory-scores", FormattableString.Invariant($"The engine alone, forward + backward, {c.Shape}, N = {c.Keys}: results and captured tensors included, a process each. Limit: {limit / mib:F0} MiB over full, a byte for every pair of one head."),
            new("case"), new("growth MiB", "F0"), new("over full MiB", "F0"), new("limit")));
        double full = 0;
        bool holds = true;
        ScoreCase[] cases = Probe.Scores(c.Heads, c.Keys);
        session.Expect(cases.Length);
        foreach (string name in cases.Select(s => s.Name))
        {
            session.Step(name);
            double bytes = Probe.Memory(Contestant.Named(Contestant.Flash), c, name);
            if (name == ScoreCase.Plain.Name)
                full = bytes;
            holds &= bytes - full <= limit;
            session.Row(table, name, bytes / mib, (bytes - full) / mib, bytes - full <= limit ? "holds" : "ABOVE");
        }
        session.End(table);
        return holds;
    }
}
