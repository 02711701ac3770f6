using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using TorchFlash.Kernels.Cpu;

namespace AttentionBench.Verbs;

/// <summary>
/// Block-sparse patterns of the papers against dense attention of the same length, as in the FlashAttention paper's table, and windows and documents against the time of
/// the pairs that exist in them.
/// </summary>
internal static class SparseCommand
{
    /// <param name="Pattern">Name.</param>
    /// <param name="Length">Number of queries and of keys.</param>
    /// <param name="Kept">Share of the dense pass's pairs.</param>
    /// <param name="Measured">Whether the dense pass was measured at this length; else its time is that of a shorter one by the square of the lengths.</param>
    /// <param name="Forward">Median seconds of the forward pass.</param>
    /// <param name="ForwardSpeedUp">Dense time over it.</param>
    /// <param name="Backward">Median seconds of the backward pass.</param>
    /// <param name="BackwardSpeedUp">Dense time over it.</param>
    private sealed record Result(string Pattern, int Length, double Kept, bool Measured, double Forward, double ForwardSpeedUp, double Backward, double BackwardSpeedUp);

    public static Command Command()
    {
        var lengths = new Option<int[]>("--length") { Description = "Sequence lengths.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [1024, 2048, 4096, 8192, 16384, 32768, 65536] };
        var heads = new Option<int>("--heads") { Description = "Number of heads.", DefaultValueFactory = _ => 2 };
        var dim = new Option<int>("--head-dim") { Description = "Head dimension.", DefaultValueFactory = _ => 64 };
        var block = new Option<int>("--block") { Description = "Queries and keys of a block.", DefaultValueFactory = _ => 128 };
        var causal = new Option<bool>("--causal") { Description = "Patterns and dense attention causal." };
        var denseLimit = new Option<int>("--dense-limit") { Description = "Longest sequence for which dense attention is measured; longer ones are extrapolated.", DefaultValueFactory = _ => 16384 };
        var exactLength = new Option<int>("--visible-length") { Description = "Length of the sequences with a window of 512 and with documents of 1024; 0: none.", DefaultValueFactory = _ => 16384 };
        var threads = new Option<int>("--threads") { Description = "Threads.", DefaultValueFactory = _ => Environment.ProcessorCount };
        var repeat = new Option<int>("--repeat") { Description = "Rounds; medians count.", DefaultValueFactory = _ => 5 };
        var json = new Option<FileInfo?>("--json") { Description = "Also write the numbers to this file." };
        var command = new Command("sparse", "Block-sparse attention against dense attention; windows and documents against the pairs in them (no libtorch).")
        {
            lengths, heads, dim, block, causal, denseLimit, exactLength, threads, repeat, json,
        };
        command.SetAction(parsed =>
        {
            (int h, int d, int t, int rounds) = (parsed.GetValue(heads), parsed.GetValue(dim), parsed.GetValue(threads), parsed.GetValue(repeat));
            Console.WriteLine(CpuEngine.Instance.Describe());
            Console.WriteLine($"B = 1, H = {h}, d = {d}, float32, {t} threads, medians of {rounds} rounds; blocks of {parsed.GetValue(block)}, dense is {(parsed.GetValue(causal) ? "causal" : "full")}.");
            Result[] patterns = Patterns(parsed.GetValue(lengths)!, h, d, parsed.GetValue(block), parsed.GetValue(causal), parsed.GetValue(denseLimit), t, rounds);
            Result[] visible = parsed.GetValue(exactLength) is var n and > 0 ? Visible(n, h, d, t, rounds) : [];
            if (parsed.GetValue(json) is { } file)
            {
                File.WriteAllText(file.FullName, JsonSerializer.Serialize(
                    new { Engine = CpuEngine.Instance.Describe(), Threads = t, Heads = h, HeadDim = d, Block = parsed.GetValue(block), Causal = parsed.GetValue(causal), Patterns = patterns, Visible = visible },
                    new JsonSerializerOptions { WriteIndented = true }));
            }
        });
        return command;
    }

    private static Result[] Patterns(int[] lengths, int heads, int dim, int block, bool causal, int denseLimit, int threads, int rounds)
    {
        Console.WriteLine();
        Console.WriteLine("| pattern | N | pairs kept | forward ms | dense | speed-up | of the possible | backward ms | dense | speed-up | of the possible |");
        Console.WriteLine("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        var results = new List<Result>();
        (double Length, double Forward, double Backward)? longest = null;
        foreach (int n in lengths.Order())
        {
            using var dense = new EnginePasses<float>(heads, n, dim, causal, threads);
            bool measured = n <= denseLimit || longest is null;
            if (measured)
                dense.Forward();
            int blocks = (n + block - 1) / block;
            foreach ((string name, bool[,] kept) in new[] { ("local + global", LocalGlobal(blocks)), ("butterfly", Butterfly(blocks)), ("strided", Strided(blocks)), ("BigBird", BigBird(blocks)) })
            {
                ScoreCase c = ScoreCase.Blocks(name, kept, block, n, causal);
                using var passes = new ScorePasses<float>(dense, c);
                double share = c.Visible / (causal ? ScoreCase.PlainCausal(n).Visible : 1);
                Result result;
                if (measured)
                {
                    (double Seconds, double Ratio) forward = Measure.Paired(rounds, dense.Forward, passes.Forward)[0], backward = Measure.Paired(rounds, dense.Backward, passes.Backward)[0];
                    result = new(name, n, share, true, forward.Seconds, 1 / forward.Ratio, backward.Seconds, 1 / backward.Ratio);
                    longest = (n, forward.Seconds / forward.Ratio, backward.Seconds / backward.Ratio);
                }
                else
                {
                    double[] seconds = Measure.Interleaved(_ => rounds, passes.Forward, passes.Backward);
                    double square = n / longest!.Value.Length * (n / longest.Value.Length);
                    result = new(name, n, share, false, seconds[0], square * longest.Value.Forward / seconds[0], seconds[1], square * longest.Value.Backward / seconds[1]);
                }
                results.Add(result);
                Print(result);
            }
        }
        if (results.Exists(r => !r.Measured))
            Console.WriteLine(Invariant($"~: the dense time at N = {longest!.Value.Length} times the square of the lengths."));
        return [.. results];
    }

    /// <summary>A window and documents against their pairs times what a pair takes in the full pass.</summary>
    private static Result[] Visible(int n, int heads, int dim, int threads, int rounds)
    {
        const double target = 1.3;
        Console.WriteLine();
        Console.WriteLine(Invariant($"N = {n}: time against that of the visible pairs alone, each as long as a pair of the plain full pass; the target is {target}."));
        Console.WriteLine();
        Console.WriteLine("| case | visible pairs | forward ms | ratio | backward ms | ratio |");
        Console.WriteLine("| --- | ---: | ---: | ---: | ---: | ---: |");
        using var dense = new EnginePasses<float>(heads, n, dim, false, threads);
        dense.Forward();
        return [.. new[] { ScoreCase.Window(n, 512), ScoreCase.Documents(n, 1024) }.Select(c =>
        {
            using var passes = new ScorePasses<float>(dense, c);
            (double Seconds, double Ratio) forward = Measure.Paired(rounds, dense.Forward, passes.Forward)[0], backward = Measure.Paired(rounds, dense.Backward, passes.Backward)[0];
            Console.WriteLine(Invariant($"| {c.Name} | {c.Visible:P1} | {1e3 * forward.Seconds:F1} | {forward.Ratio / c.Visible:F2} | {1e3 * backward.Seconds:F1} | {backward.Ratio / c.Visible:F2} |"));
            return new Result(c.Name, n, c.Visible, true, forward.Seconds, 1 / forward.Ratio, backward.Seconds, 1 / backward.Ratio);
        })];
    }

    private static void Print(Result r)
    {
        string mark = r.Measured ? "" : "~";
        Console.WriteLine(Invariant($"| {r.Pattern} | {r.Length} | {r.Kept:P1} | {Pass(r.Forward, r.ForwardSpeedUp)} | {Pass(r.Backward, r.BackwardSpeedUp)} |"));

        string Pass(double seconds, double speedUp) => Invariant($"{1e3 * seconds:F1} | {mark}{1e3 * seconds * speedUp:F1} | {mark}{speedUp:F2}x | {speedUp * r.Kept:P0}");
    }

    /// <summary>Three blocks around the diagonal, and the first block for and of everybody (Longformer).</summary>
    private static bool[,] LocalGlobal(int blocks) => Where(blocks, (r, c) => Math.Abs(r - c) <= 1 || r == 0 || c == 0);

    /// <summary>Blocks whose numbers differ in one bit at most: the product of sparse factors in which everybody reaches everybody (Pixelated Butterfly).</summary>
    private static bool[,] Butterfly(int blocks) => Where(blocks, (r, c) => int.IsPow2(r ^ c) || r == c);

    /// <summary>The blocks next to the diagonal, and those at distances that are multiples of the root of their count (Sparse Transformer).</summary>
    private static bool[,] Strided(int blocks)
    {
        int stride = Math.Max(1, (int)Math.Round(Math.Sqrt(blocks)));
        return Where(blocks, (r, c) => Math.Abs(r - c) <= 1 || (r - c) % stride == 0);
    }

    /// <summary>Local and global blocks, and three more at random for every row.</summary>
    private static bool[,] BigBird(int blocks)
    {
        bool[,] kept = LocalGlobal(blocks);
        var random = new Random(1);
        for (int r = 0; r < blocks; r++)
            for (int more = 0; more < 3; more++)
                kept[r, random.Next(blocks)] = true;
        return kept;
    }

    private static bool[,] Where(int blocks, Func<int, int, bool> keep)
    {
        bool[,] kept = new bool[blocks, blocks];
        for (int r = 0; r < blocks; r++)
            for (int c = 0; c < blocks; c++)
                kept[r, c] = keep(r, c);
        return kept;
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
