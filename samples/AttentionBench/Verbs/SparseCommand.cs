using System.CommandLine;
using System.Globalization;
using AttentionBench.Cli;
using AttentionBench.Engine;
using AttentionBench.Measuring;
using AttentionBench.Output;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cpu;

namespace AttentionBench.Verbs;

/// <summary>
/// Block-sparse patterns of the papers against dense attention of the same length, as in the FlashAttention paper's table, and windows and documents against the time of
/// the pairs that exist in them.
/// </summary>
internal static class SparseCommand
{
    public static Command Command()
    {
        Option<int[]> lengths = Options.Wholes("--length", "Sequence lengths.", [1024, 2048, 4096, 8192, 16384, 32768, 65536]);
        Option<int?> heads = Options.Whole("--heads", "Number of heads.", 2), dim = Options.Whole("--head-dim", "Head dimension.", 64), block = Options.Whole("--block", "Queries and keys of a block.", 128);
        var causal = new Option<bool>("--causal") { Description = "Patterns and dense attention causal." };
        Option<int?> denseLimit = Options.Whole("--dense-limit", "Longest sequence for which dense attention is measured; longer ones are extrapolated.", 16384);
        Option<int?> exactLength = Options.Whole("--visible-length", "Length of the sequences with a window of 512 and with documents of 1024; 0: none.", 16384, 0);
        Option<int?> threads = Options.Whole("--threads", "Threads.", Environment.ProcessorCount, 1, 1024), repeat = Options.Whole("--repeat", "Rounds.", 5, 1, 100_000);
        var command = new Command("sparse", "Block-sparse attention against dense attention; windows and documents against the pairs in them (no libtorch).")
        {
            lengths, heads, dim, block, causal, denseLimit, exactLength, threads, repeat,
        };
        return Session.On(command, false, [Options.Json, Options.Csv], parsed => session =>
        {
            (int h, int d, int t, int rounds) = (parsed.GetValue(heads)!.Value, parsed.GetValue(dim)!.Value, parsed.GetValue(threads)!.Value, parsed.GetValue(repeat)!.Value);
            bool isCausal = parsed.GetValue(causal);
            session.Line(CpuEngine.Instance.Describe());
            session.Line($"B = 1, H = {h}, d = {d}, float32, {t} threads, medians of {rounds} rounds, quartiles in brackets; blocks of {parsed.GetValue(block)}, dense is {(isCausal ? "causal" : "full")}.");
            Patterns(session, parsed.GetValue(lengths)!, h, d, parsed.GetValue(block)!.Value, isCausal, parsed.GetValue(denseLimit)!.Value, t, rounds);
            if (parsed.GetValue(exactLength) is > 0 and { } n)
                Visible(session, n, h, d, t, rounds);
            return 0;
        });
    }

    private static void Patterns(Session session, int[] lengths, int heads, int dim, int block, bool causal, int denseLimit, int threads, int rounds)
    {
        Table table = session.Begin(new Table(
            "patterns", "Block-sparse patterns beside dense attention. \"~\": the dense time is that of the longest measured sequence times the square of the lengths.",
            new("pattern"), new("N", "D"), new("pairs kept", "P1"), new("forward ms", "F1"), new("dense forward ms"), new("forward speed-up", "F2", "x"), new("forward, of the possible", "P0"),
            new("backward ms", "F1"), new("dense backward ms"), new("backward speed-up", "F2", "x"), new("backward, of the possible", "P0")));
        session.Expect(4 * lengths.Length);
        (double Length, double Forward, double Backward)? longest = null;
        foreach (int n in lengths.Order())
        {
            using var dense = new EnginePasses(ElementType.Float32, heads, n, dim, causal, threads);
            bool measured = n <= denseLimit || longest is null;
            if (measured)
                dense.Forward();
            int blocks = (n + block - 1) / block;
            foreach ((string name, bool[,] kept) in new[] { ("local + global", LocalGlobal(blocks)), ("butterfly", Butterfly(blocks)), ("strided", Strided(blocks)), ("BigBird", BigBird(blocks)) })
            {
                session.Step($"{name}, N = {n}");
                ScoreCase c = ScoreCase.Blocks(name, kept, block, n, causal);
                using var passes = new ScorePasses<float>(dense, c);
                passes.Forward(); // what the first backward pass reads
                double share = c.Visible / (causal ? ScoreCase.PlainCausal(n).Visible : 1);
                Spread forward, backward, forwardSpeedUp, backwardSpeedUp;
                if (measured)
                {
                    PairedTimes f = Measure.Paired(rounds, dense.Forward, passes.Forward)[0], b = Measure.Paired(rounds, dense.Backward, passes.Backward)[0];
                    (forward, forwardSpeedUp, backward, backwardSpeedUp) = (f.Seconds, f.Ratio.Reciprocal, b.Seconds, b.Ratio.Reciprocal);
                    longest = (n, f.Seconds.Median / f.Ratio.Median, b.Seconds.Median / b.Ratio.Median);
                }
                else
                {
                    double[][] seconds = Measure.InTurn(_ => rounds, 0, Measure.Timed(passes.Forward), Measure.Timed(passes.Backward));
                    double square = n / longest!.Value.Length * (n / longest.Value.Length);
                    (forward, backward) = (Spread.Of(seconds[0]), Spread.Of(seconds[1]));
                    (forwardSpeedUp, backwardSpeedUp) = (square * longest.Value.Forward * forward.Reciprocal, square * longest.Value.Backward * backward.Reciprocal);
                }
                session.Row(
                    table, name, n, share, 1e3 * forward, Dense(forward, forwardSpeedUp), forwardSpeedUp, share * forwardSpeedUp, 1e3 * backward, Dense(backward, backwardSpeedUp), backwardSpeedUp, share * backwardSpeedUp);

                string Dense(Spread sparse, Spread speedUp) => string.Create(CultureInfo.InvariantCulture, $"{(measured ? "" : "~")}{1e3 * sparse.Median * speedUp.Median:F1}");
            }
        }
        session.End(table);
    }

    /// <summary>A window and documents against their pairs times what a pair takes in the full pass.</summary>
    private static void Visible(Session session, int n, int heads, int dim, int threads, int rounds)
    {
        const double target = 1.3;
        Table table = session.Begin(new Table(
            "visible", FormattableString.Invariant($"N = {n}: time against that of the visible pairs alone, each as long as a pair of the plain full pass; the target is {target}."),
            new("case"), new("visible pairs", "P1"), new("forward ms", "F1"), new("forward ratio", "F2"), new("backward ms", "F1"), new("backward ratio", "F2"), new("disturbed")));
        using var dense = new EnginePasses(ElementType.Float32, heads, n, dim, false, threads);
        dense.Forward();
        session.Expect(2);
        foreach (ScoreCase c in new[] { ScoreCase.Window(n, 512), ScoreCase.Documents(n, 1024) })
        {
            session.Step(c.Name);
            using var passes = new ScorePasses<float>(dense, c);
            passes.Forward(); // what the first backward pass reads
            MachineState before = MachineState.Now();
            PairedTimes forward = Measure.Paired(rounds, dense.Forward, passes.Forward)[0], backward = Measure.Paired(rounds, dense.Backward, passes.Backward)[0];
            session.Row(
                table, c.Name, c.Visible, 1e3 * forward.Seconds, 1 / c.Visible * forward.Ratio, 1e3 * backward.Seconds, 1 / c.Visible * backward.Ratio, Disturbance.Between(before, MachineState.Now(), threads));
        }
        session.End(table);
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
}
