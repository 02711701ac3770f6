using System.CommandLine;
using System.Globalization;
using System.Numerics;
using TorchFlash.Kernels.Cpu;

namespace AttentionBench.Verbs;

/// <summary>
/// The CPU engine's arithmetic throughput as a share of the multiply-add ceiling measured between its runs. Counted are
/// 4 H Nq Nk d operations forward and 2.5 times that backward (7 products with the recomputed S against 2), half of it causal.
/// </summary>
internal static class KernelCommand
{
    /// <summary>A case whose own ceiling lies below this share of the one at the start shared the machine with something else, or ran at a lower clock.</summary>
    private const double Undisturbed = 0.95;

    private const int Attempts = 3;

    private sealed record Case(int Heads, int Length, int HeadDim, bool Causal, int Threads)
    {
        public double ForwardFlop => 4.0 * Heads * Length * Length * HeadDim * (Causal ? 0.5 : 1);

        public double BackwardFlop => 2.5 * ForwardFlop;

        public string Name => $"H={Heads} N={Length} d={HeadDim} {(Causal ? "causal" : "full")} {Threads}T";
    }

    /// <param name="Ceiling">Median FLOP/s of the ceiling between the runs.</param>
    /// <param name="Forward">Median seconds.</param>
    /// <param name="Backward">Median seconds.</param>
    private sealed record Result(double Ceiling, double Forward, double Backward);

    public static Command Command()
    {
        var lengths = new Option<int[]>("--n") { Description = "Sequence lengths (default: 1024 and 4096 with H=12 d=64, 2048 with H=8 d=128).", AllowMultipleArgumentsPerToken = true };
        var heads = new Option<int>("--heads") { Description = "Batch times heads.", DefaultValueFactory = _ => 12 };
        var dim = new Option<int>("--dim") { Description = "Head dimension.", DefaultValueFactory = _ => 64 };
        var threads = new Option<int[]>("--threads") { Description = "Numbers of threads.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [1, Environment.ProcessorCount] };
        var causal = new Option<string>("--causal") { Description = "Masks.", DefaultValueFactory = _ => "both" };
        causal.AcceptOnlyFromAmong("full", "causal", "both");
        var type = new Option<string>("--type") { Description = "Element type.", DefaultValueFactory = _ => "float32" };
        type.AcceptOnlyFromAmong("float32", "float64");
        var filter = new Option<string>("--filter") { Description = "Only cases whose name contains this text.", DefaultValueFactory = _ => "" };
        var repeat = new Option<int>("--repeat") { Description = "Rounds per case; the median counts.", DefaultValueFactory = _ => 7 };
        var command = new Command("kernel", "The CPU engine against the multiply-add ceiling of the machine (no libtorch).") { lengths, heads, dim, threads, causal, type, filter, repeat };
        command.SetAction(parsed =>
        {
            int[] n = parsed.GetValue(lengths)!;
            (int H, int N, int D)[] shapes = n.Length > 0
                ? [.. n.Select(length => (parsed.GetValue(heads), length, parsed.GetValue(dim)))]
                : [(12, 1024, 64), (12, 4096, 64), (8, 2048, 128)];
            bool[] masks = parsed.GetValue(causal) switch
            {
                "full" => [false],
                "causal" => [true],
                _ => [false, true],
            };
            IEnumerable<Case> cases = from s in shapes from mask in masks from t in parsed.GetValue(threads)! select new Case(s.H, s.N, s.D, mask, t);
            cases = cases.Where(c => c.Name.Contains(parsed.GetValue(filter)!, StringComparison.OrdinalIgnoreCase));
            if (parsed.GetValue(type) == "float32")
                Run<float>([.. cases], parsed.GetValue(repeat));
            else
                Run<double>([.. cases], parsed.GetValue(repeat));
        });
        return command;
    }

    private static void Run<T>(Case[] cases, int rounds) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        Console.WriteLine(CpuEngine.Instance.Describe());
        Dictionary<int, double> ceilings = cases.Select(c => c.Threads).Distinct().ToDictionary(t => t, FmaCeiling.Best<T>);
        foreach ((int threads, double ceiling) in ceilings)
            Console.WriteLine(Invariant($"ceiling, {FmaCeiling.VectorBits<T>()}-bit {typeof(T).Name}, {threads} threads: {ceiling / 1e9:F1} GFLOP/s"));
        Console.WriteLine();
        Console.WriteLine("| case | ceiling GFLOP/s | forward GFLOP/s | share | backward GFLOP/s | share | |");
        Console.WriteLine("| --- | ---: | ---: | ---: | ---: | ---: | --- |");
        foreach (Case c in cases)
        {
            Result result = MeasureCase<T>(c, rounds);
            for (int attempt = 1; attempt < Attempts && IsDisturbed(result); attempt++)
                result = MeasureCase<T>(c, rounds);
            double forward = c.ForwardFlop / result.Forward, backward = c.BackwardFlop / result.Backward;
            Console.WriteLine(Invariant($"| {c.Name} | {result.Ceiling / 1e9:F1} | {forward / 1e9:F1} | {forward / result.Ceiling:P1} | {backward / 1e9:F1} | {backward / result.Ceiling:P1} | {(IsDisturbed(result) ? $"disturbed: ceiling was {ceilings[c.Threads] / 1e9:F1}" : "")} |"));

            bool IsDisturbed(Result r) => r.Ceiling < Undisturbed * ceilings[c.Threads];
        }
    }

    /// <summary>Forward, backward and ceiling in turn.</summary>
    private static Result MeasureCase<T>(Case c, int rounds) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        using var passes = new EnginePasses<T>(c.Heads, c.Length, c.HeadDim, c.Causal, c.Threads);
        var ceilings = new List<double>();
        double[] seconds = Measure.Interleaved(_ => rounds,
            passes.Forward,
            Ceiling,
            passes.Backward,
            Ceiling);
        return new Result(Measure.Median(ceilings), seconds[0], seconds[2]);

        void Ceiling() => ceilings.Add(FmaCeiling.Sample<T>(c.Threads));
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
