using System.CommandLine;

namespace TorchFlash.Benchmarks;

/// <summary>A long sequence through flash attention, forward and backward, within a limit of memory growth.</summary>
internal static class MemoryBenchmark
{
    public static Command Command()
    {
        var length = new Option<int>("--n") { Description = "Sequence length.", DefaultValueFactory = _ => 32768 };
        var heads = new Option<int>("--heads") { Description = "Number of heads.", DefaultValueFactory = _ => 12 };
        var dim = new Option<int>("--dim") { Description = "Head dimension.", DefaultValueFactory = _ => 64 };
        var causal = new Option<bool>("--causal") { Description = "With a causal mask." };
        var limit = new Option<double>("--limit") { Description = "Largest growth in GiB; more is a failure.", DefaultValueFactory = _ => 2 };
        var command = new Command("memory", "Memory growth of a long forward and backward pass; fails above the limit.") { length, heads, dim, causal, limit, TorchThreads.Option };
        command.SetAction(parsed =>
        {
            TorchThreads.Apply(parsed);
            const double gib = 1 << 30;
            int n = parsed.GetValue(length), h = parsed.GetValue(heads), d = parsed.GetValue(dim);
            Contestant flash = Contestant.All.Single(c => c.Name == "flash"), naive = Contestant.All.Single(c => c.Name == "naive");
            (long bytes, double seconds) = MemoryProbe.Growth(flash, h, n, d, parsed.GetValue(causal));
            bool holds = bytes <= parsed.GetValue(limit) * gib;
            Console.WriteLine(FormattableString.Invariant(
                $"flash forward + backward, B=1 H={h} N={n} d={d} float32: {seconds:F1} s, memory grew by {bytes / gib:F3} GiB ({(holds ? "within" : "ABOVE")} the limit of {parsed.GetValue(limit)} GiB; the naive composition needs at least {naive.ScoreBytes(h, n) / gib:F0} GiB)"));
            return holds ? 0 : 1;
        });
        return command;
    }
}
