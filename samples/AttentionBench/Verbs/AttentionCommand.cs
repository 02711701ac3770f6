using System.CommandLine;
using TorchFlash;
using System.Text.Json;
using static TorchSharp.torch;

namespace AttentionBench.Verbs;

/// <summary>
/// flash against libtorch's SDPA, the naive composition and torch.nn.MultiheadAttention: times interleaved in one process,
/// peak memory in a process per case.
/// </summary>
internal static class AttentionCommand
{
    /// <summary>Matrices of scores may take this share of the machine's memory.</summary>
    internal const double MemoryShare = 0.6;

    private const double SecondsPerCase = 2;

    /// <summary>Contestants whose outputs differ by more, relative to the largest element, do not compute the same.</summary>
    private const double Agreement = 1e-3;

    private sealed record Result(string Contestant, int N, int Heads, int Dim, bool Causal, double? ForwardSeconds, double? ForwardBackwardSeconds, long? PeakGrowthBytes);

    public static Command Command()
    {
        var lengths = new Option<int[]>("--n") { Description = "Sequence lengths.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [512, 1024, 2048, 4096, 8192, 16384] };
        var heads = new Option<int>("--heads") { Description = "Number of heads.", DefaultValueFactory = _ => 12 };
        var dim = new Option<int>("--dim") { Description = "Head dimension.", DefaultValueFactory = _ => 64 };
        var causal = new Option<string>("--causal") { Description = "Masks.", DefaultValueFactory = _ => "both" };
        causal.AcceptOnlyFromAmong("full", "causal", "both");
        var noMemory = new Option<bool>("--no-memory") { Description = "Times only." };
        var json = new Option<FileInfo?>("--json") { Description = "Also write the numbers to this file." };
        var command = new Command("attention", "flash against libtorch's SDPA, MultiheadAttention and the naive composition.") { lengths, heads, dim, causal, noMemory, json, TorchThreads.Option };
        command.SetAction(parsed =>
        {
            TorchThreads.Apply(parsed);
            bool[] masks = parsed.GetValue(causal) switch
            {
                "full" => [false],
                "causal" => [true],
                _ => [false, true],
            };
            (int h, int d, bool memory) = (parsed.GetValue(heads), parsed.GetValue(dim), !parsed.GetValue(noMemory));
            PrintSetting(h, d);
            var results = new List<Result>();
            foreach (bool modules in new[] { false, true })
            {
                Contestant[] contestants = [.. Contestant.All.Where(c => c.IsModule == modules)];
                PrintHeader(contestants);
                foreach (bool mask in masks)
                    foreach (int n in parsed.GetValue(lengths)!)
                    {
                        Result[] row = MeasureCase(contestants, h, n, d, mask, memory);
                        PrintRow(row);
                        results.AddRange(row);
                    }
            }
            if (parsed.GetValue(json) is { } file)
                File.WriteAllText(file.FullName, JsonSerializer.Serialize(
                    new { Libtorch = __version__, FusedSdpa = Contestant.HasFusedAttention, Threads = get_num_threads(), Results = results },
                    new JsonSerializerOptions { WriteIndented = true }));
        });
        return command;
    }

    private static Result[] MeasureCase(Contestant[] contestants, int heads, int n, int dim, bool causal, bool memory)
    {
        Contestant[] feasible = [.. contestants.Where(c => c.ScoreBytes(heads, n) < MemoryShare * GC.GetGCMemoryInfo().TotalAvailableMemoryBytes)];
        double[] forward, both;
        using (NewDisposeScope())
        {
            Workload[] workloads = [.. feasible.Select(c => new Workload(c, heads, n, dim, causal))];
            for (int i = 1; i < workloads.Length; i++)
                if (workloads[0].Difference(workloads[i]) is not < Agreement)
                    throw new InvalidOperationException($"{feasible[0].Name} and {feasible[i].Name} do not compute the same at N = {n}.");
            forward = Measure.Interleaved(Rounds, [.. workloads.Select<Workload, Action>(w => w.Forward)]);
            both = Measure.Interleaved(Rounds, [.. workloads.Select<Workload, Action>(w => w.ForwardBackward)]);
        }
        return [.. contestants.Select(c =>
        {
            int at = Array.IndexOf(feasible, c);
            return at < 0
                ? new Result(c.Name, n, heads, dim, causal, null, null, null)
                : new Result(c.Name, n, heads, dim, causal, forward[at], both[at], memory ? Probe.GrowthInChild(c, heads, n, dim, causal) : null);
        })];
    }

    /// <summary>3 to 25 rounds, as many as fit into the time.</summary>
    private static int Rounds(double secondsPerRound) => Math.Clamp((int)(SecondsPerCase / secondsPerRound), 3, 25);

    private static void PrintSetting(int heads, int dim)
    {
        Console.Write(flash.describe());
        Console.WriteLine();
        Console.WriteLine($"B = 1, H = {heads}, d = {dim}, float32, {get_num_threads()} threads, libtorch {__version__}. "
            + (Contestant.HasFusedAttention
                ? "Its scaled_dot_product_attention is a fused kernel."
                : "This libtorch has no fused attention kernel for processors (2.2 is the first): its scaled_dot_product_attention is a composition."));
        Console.WriteLine("Times are medians, in brackets how many times as long as flash; peak is the growth of process memory during forward + backward.");
        Console.WriteLine($"\"-\": matrices of scores would take over {MemoryShare:P0} of the machine's memory.");
    }

    private static void PrintHeader(Contestant[] contestants)
    {
        Console.WriteLine();
        Console.WriteLine($"| mask | N | {string.Join(" | ", from what in new[] { "forward ms", "forward + backward ms", "peak MiB" } from c in contestants select $"{what} {c.Name}")} |");
        Console.WriteLine($"| --- |{string.Concat(Enumerable.Repeat(" ---: |", 1 + 3 * contestants.Length))}");
    }

    private static void PrintRow(Result[] row)
    {
        string[] cells =
        [
            .. row.Select(r => Time(r.ForwardSeconds, row[0].ForwardSeconds)),
            .. row.Select(r => Time(r.ForwardBackwardSeconds, row[0].ForwardBackwardSeconds)),
            .. row.Select(r => r.PeakGrowthBytes is { } bytes ? FormattableString.Invariant($"{bytes / 1048576.0:F0}") : "-"),
        ];
        Console.WriteLine($"| {(row[0].Causal ? "causal" : "full")} | {row[0].N} | {string.Join(" | ", cells)} |");
    }

    private static string Time(double? seconds, double? flash) =>
        seconds is null ? "-"
        : seconds == flash ? FormattableString.Invariant($"{1e3 * seconds:F1}")
        : FormattableString.Invariant($"{1e3 * seconds:F1} ({seconds / flash:F2}x)");
}
