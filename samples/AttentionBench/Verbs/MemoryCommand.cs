using System.CommandLine;

namespace AttentionBench.Verbs;

/// <summary>A long sequence through flash attention, forward and backward, within a limit of memory growth; then what is done to its scores.</summary>
internal static class MemoryCommand
{
    public static Command Command()
    {
        var length = new Option<int>("--n") { Description = "Sequence length.", DefaultValueFactory = _ => 32768 };
        var heads = new Option<int>("--heads") { Description = "Number of heads.", DefaultValueFactory = _ => 12 };
        var dim = new Option<int>("--dim") { Description = "Head dimension.", DefaultValueFactory = _ => 64 };
        var causal = new Option<bool>("--causal") { Description = "With a causal mask." };
        var limit = new Option<double>("--limit") { Description = "Largest growth in GiB; more is a failure.", DefaultValueFactory = _ => 2 };
        var scoreLength = new Option<int>("--scores") { Description = "Sequence length for masks, biases and dropout; 0: none.", DefaultValueFactory = _ => 16384 };
        var command = new Command("memory", "Memory growth of a long forward and backward pass, plain and with what is done to its scores; fails above the limits.")
        {
            length, heads, dim, causal, limit, scoreLength, TorchThreads.Option,
        };
        command.SetAction(parsed =>
        {
            TorchThreads.Apply(parsed);
            const double gib = 1 << 30;
            int n = parsed.GetValue(length), h = parsed.GetValue(heads), d = parsed.GetValue(dim);
            Contestant flash = Contestant.All.Single(c => c.Name == "flash"), naive = Contestant.All.Single(c => c.Name == "naive");
            (long bytes, double seconds) = Probe.Growth(flash, h, n, d, parsed.GetValue(causal));
            bool holds = bytes <= parsed.GetValue(limit) * gib;
            Console.WriteLine(FormattableString.Invariant(
                $"flash forward + backward, B=1 H={h} N={n} d={d} float32: {seconds:F1} s, memory grew by {bytes / gib:F3} GiB ({(holds ? "within" : "ABOVE")} the limit of {parsed.GetValue(limit)} GiB; the naive composition needs at least {naive.ScoreBytes(h, n) / gib:F0} GiB)"));
            if (parsed.GetValue(scoreLength) is var scored and > 0)
                holds &= Scores(flash, h, scored, d);
            return holds ? 0 : 1;
        });
        return command;
    }

    /// <summary>Nothing may take a byte more for every pair of one head.</summary>
    private static bool Scores(Contestant flash, int heads, int n, int dim)
    {
        const double mib = 1 << 20;
        double limit = (double)n * n;
        Console.WriteLine();
        Console.WriteLine(FormattableString.Invariant($"The engine alone, forward + backward, B=1 H={heads} N={n} d={dim} float32: results and captured tensors included, a process each. Limit: {limit / mib:F0} MiB over full, a byte for every pair of one head."));
        Console.WriteLine();
        Console.WriteLine("| case | growth MiB | over full MiB |");
        Console.WriteLine("| --- | ---: | ---: |");
        double full = 0;
        bool holds = true;
        foreach (string name in Probe.Scores(heads, n).Select(c => c.Name))
        {
            double bytes = Probe.GrowthInChild(flash, heads, n, dim, false, name);
            if (name == ScoreCase.Plain.Name)
                full = bytes;
            holds &= bytes - full <= limit;
            Console.WriteLine(FormattableString.Invariant($"| {name} | {bytes / mib:F0} | {(bytes - full) / mib:F0}{(bytes - full <= limit ? "" : " ABOVE the limit")} |"));
        }
        return holds;
    }
}
