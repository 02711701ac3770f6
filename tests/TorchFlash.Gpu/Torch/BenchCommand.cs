using System.CommandLine;
using System.Diagnostics;
using TorchFlash.Gpu.Report;
using TorchFlash.Kernels.Cuda;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Gpu.Torch;

/// <summary>The <c>bench</c> verb: this project's kernels against those of libtorch on equal tensors, turn by turn.</summary>
internal static class BenchCommand
{
    public static Command Create()
    {
        var dims = new Option<int[]>("--dim") { Description = "Head dimensions.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [128, 64, 256] };
        var lengths = new Option<int[]>("--n") { Description = "Sequence lengths.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [16384, 4096, 1024, 8192, 2048, 512] };
        var types = new Option<string[]>("--type") { Description = "bfloat16, float16.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => ["bfloat16"] };
        var rounds = new Option<int>("--rounds") { Description = "Times that each is measured; the median counts.", DefaultValueFactory = _ => 11 };
        var command = new Command("bench", "Forward and backward against libtorch's flash, cuDNN and memory-efficient attention.") { dims, lengths, types, rounds, TorchGpu.Rehearsal };
        command.SetAction(parsed =>
        {
            using TorchGpu? gpu = TorchGpu.Open(parsed);
            if (gpu is null)
                return ExitCode.NoGpu;
            using IDisposable noGradient = no_grad();
            List<BenchCase> cases = gpu.IsRehearsal
                ? [new BenchCase(1, 1, 64, 64, true, ScalarType.BFloat16), new BenchCase(1, 1, 64, 64, false, ScalarType.Float16)]
                : [.. Cases(parsed.GetValue(types)!, parsed.GetValue(dims)!, parsed.GetValue(lengths)!)];
            var bench = new Benchmark(gpu, gpu.IsRehearsal ? 1 : parsed.GetValue(rounds), parsed.GetValue(GpuOptions.Seconds));
            return bench.Run(cases).Write(parsed.GetValue(GpuOptions.Out)!);
        });
        return command;
    }

    /// <summary>As many tokens and features in every case as in one sequence of 16k with 2048 features.</summary>
    private static IEnumerable<BenchCase> Cases(string[] types, int[] dims, int[] lengths) =>
        from type in types
        from length in lengths
        from dim in dims
        from causal in (bool[])[false, true]
        select new BenchCase(Math.Max(1, 16384 / length), Math.Max(1, 2048 / dim), length, dim, causal, Enum.Parse<ScalarType>(type, ignoreCase: true));
}

/// <summary>One measured pass of one contestant.</summary>
/// <param name="Contestant">Who.</param>
/// <param name="Case">What.</param>
/// <param name="Pass">forward or backward.</param>
/// <param name="Milliseconds">Median; null where it failed.</param>
/// <param name="SpreadPercent">Half the distance of the quartiles, of the median.</param>
/// <param name="Teraflops">By 4 N² d operations a head forward, 2.5 times that backward, half where causal.</param>
/// <param name="PeakMebibytes">What the pass adds to the memory of tensors at most; its results are in it, its inputs not.</param>
/// <param name="Note">Why it failed.</param>
internal sealed record BenchResult(
    string Contestant, BenchCase Case, string Pass, double? Milliseconds, double? SpreadPercent, double? Teraflops, double? PeakMebibytes, string? Note = null);

/// <summary>Runs the cases and keeps the results.</summary>
internal sealed class Benchmark(TorchGpu gpu, int rounds, double seconds)
{
    /// <summary>Operands are rotated so that a pass finds none of them in the second-level cache.</summary>
    private const long BytesBetweenUses = 256L << 20;

    private const double LeastSeconds = 3e-3;
    private const int MostLaunches = 64;

    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly List<BenchResult> _results = [];
    private readonly List<string> _failures = [], _skipped = [];
    private readonly Tensor[] _ceilingOperands = CeilingOperands(gpu);

    public PartReport Run(List<BenchCase> cases)
    {
        object compilation = Compile(cases);
        double ceilingBefore = Ceiling();
        Console.WriteLine(FormattableString.Invariant($"matrix product 8192^3 bfloat16: {ceilingBefore:F0} TFLOP/s"));
        foreach (BenchCase size in cases)
        {
            if (_clock.Elapsed.TotalSeconds > seconds)
                _skipped.Add(size.ToString());
            else
                Measure(size);
        }
        double ceilingAfter = Ceiling();
        BenchTable.Print(_results);
        foreach (string skipped in _skipped)
            Console.WriteLine($"not measured, the time was over: {skipped}");
        if (_results.Count == 0)
            _failures.Add("nothing was measured");
        _failures.AddRange(gpu.Engines.Complaints);
        object details = new
        {
            Libtorch = __version__,
            CudaRuntime = gpu.Engines.Runtime.Describe().Split('\n', StringSplitOptions.RemoveEmptyEntries),
            gpu.IsRehearsal,
            Compilation = compilation,
            MatrixProductTeraflops = new[] { ceilingBefore, ceilingAfter },
            Rounds = rounds,
            Results = _results,
            Skipped = _skipped,
        };
        return new PartReport("bench", _failures.Count == 0, GpuOptions.Name(gpu.Engines), gpu.Engines.IsEmulated || gpu.IsRehearsal, _results.Count, _failures, details) { Seconds = _clock.Elapsed.TotalSeconds };
    }

    /// <summary>All kernels beforehand, several at a time; how long that took is what a first call waits for.</summary>
    private object Compile(List<BenchCase> cases)
    {
        var clock = Stopwatch.StartNew();
        CudaEngine[] engines = [.. gpu.Engines.Families.Select(gpu.Engines.Of)];
        Parallel.ForEach(cases.DistinctBy(c => (c.Dim, c.Causal, c.Type)).SelectMany(c => engines.Select(e => (c, e))),
            pair => pair.e.Precompile(pair.c.Problem));
        var compiled = gpu.Engines.Compiled.Select(k => new { Kernel = k.Variant.ToString(), k.Time.TotalSeconds }).ToArray();
        Console.WriteLine(FormattableString.Invariant($"{compiled.Length} kernels compiled in {clock.Elapsed.TotalSeconds:F1} s, one of them in {compiled.Select(k => k.TotalSeconds).DefaultIfEmpty().Average():F1} s on average"));
        return new { clock.Elapsed.TotalSeconds, Kernels = compiled };
    }

    private void Measure(BenchCase size)
    {
        using DisposeScope scope = NewDisposeScope();
        long bytes = 4L * size.Batch * size.Heads * size.Length * size.Dim * 2;
        BenchOperands[] sets = [.. Enumerable.Range(0, gpu.IsRehearsal ? 1 : (int)Math.Clamp(BytesBetweenUses / bytes, 2, 8)).Select(_ => new BenchOperands(gpu, size))];
        List<Entry> entries = [];
        foreach (Contestant contestant in Contestant.All(gpu))
        {
            try
            {
                entries.Add(new Entry(contestant, [.. sets.Select(x => contestant.Forward(x, size))], size));
            }
            catch (Exception e)
            {
                Failed(contestant, size, "forward", e);
            }
        }
        Agree(entries, sets[0], size);
        foreach (bool backward in (bool[])[false, true])
            MeasurePass(entries, sets, size, backward);
        entries.ForEach(entry => entry.Dispose());
        Array.ForEach(sets, set => set.Dispose());
    }

    /// <summary>All the contestants in turn, round after round: what disturbs the machine for a while disturbs all of them.</summary>
    private void MeasurePass(List<Entry> entries, BenchOperands[] sets, BenchCase size, bool backward)
    {
        string pass = backward ? "backward" : "forward";
        foreach (Entry entry in entries)
        {
            try
            {
                entry.Peak = gpu.PeakGrowth(() => entry.Launch(sets, 0, backward));
                double once = gpu.Seconds(() => entry.Launch(sets, 1, backward));
                entry.Launches = gpu.IsRehearsal ? 1 : (int)Math.Clamp(LeastSeconds / once, 1, MostLaunches);
                entry.Times = [];
            }
            catch (Exception e)
            {
                entry.Times = null;
                Failed(entry.Contestant, size, pass, e);
            }
        }
        for (int round = 0; round < rounds; round++)
            foreach (Entry entry in entries.Where(e => e.Times is not null))
            {
                double time = gpu.Seconds(() =>
                {
                    for (int i = 0; i < entry.Launches; i++)
                        entry.Launch(sets, i + round, backward);
                }, () => KeepBusy(entry.Launches));
                entry.Times!.Add(time / entry.Launches);
            }
        foreach (Entry entry in entries.Where(e => e.Times is not null))
        {
            double[] sorted = [.. entry.Times!.Order()];
            double median = sorted[sorted.Length / 2], spread = (sorted[sorted.Length * 3 / 4] - sorted[sorted.Length / 4]) / 2 / median;
            double operations = backward ? size.BackwardOperations : size.ForwardOperations;
            _results.Add(new BenchResult(entry.Contestant.Name, size, pass, median * 1e3, spread * 100, operations / median / 1e12, entry.Peak / (double)(1 << 20)));
        }
        Console.WriteLine(FormattableString.Invariant(
            $"{_clock.Elapsed.TotalSeconds,6:F1} s  {size} {pass,-8}  {string.Join("  ", _results.Where(r => r.Case == size && r.Pass == pass).Select(r => FormattableString.Invariant($"{r.Contestant} {r.Teraflops:F0}")))} TFLOP/s"));
    }

    /// <summary>A launch from managed code takes some tens of microseconds: products that keep the GPU busy for as long as all of them take.</summary>
    private void KeepBusy(int launches)
    {
        for (int i = 0; i < 1 + launches / 12; i++)
            using (matmul(_ceilingOperands[0], _ceilingOperands[1])) { }
    }

    /// <summary>TFLOP/s of a large matrix product in the same run.</summary>
    private double Ceiling()
    {
        if (gpu.IsRehearsal)
            return double.NaN;
        const int repeats = 10;
        double[] times = [.. Enumerable.Range(0, 5).Select(_ => gpu.Seconds(() => KeepBusy(12 * (repeats - 1))))];
        return 2 * Math.Pow(_ceilingOperands[0].shape[0], 3) * repeats / times.Order().ElementAt(2) / 1e12;
    }

    private static Tensor[] CeilingOperands(TorchGpu gpu)
    {
        long n = gpu.IsRehearsal ? 8 : 8192;
        return [gpu.Normal(ScalarType.BFloat16, n, n), gpu.Normal(ScalarType.BFloat16, n, n)];
    }

    /// <summary>Contestants whose results differ by more than their type's rounding do not compute the same.</summary>
    private void Agree(List<Entry> entries, BenchOperands x, BenchCase size)
    {
        if (entries.Count < 2)
            return;
        foreach (Entry entry in entries.Skip(1))
        {
            double difference = Difference(entries[0].Forward[0].Output, entry.Forward[0].Output);
            if (!(difference < 0.02))
                _failures.Add(FormattableString.Invariant($"{size}: O of {entries[0].Contestant.Name} and {entry.Contestant.Name} differ by {difference:G3} of their norm"));
        }
    }

    private static double Difference(Tensor a, Tensor b)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor x = a.to(ScalarType.Float32), y = b.to(ScalarType.Float32);
        return ((x - y).norm() / y.norm()).item<float>();
    }

    private void Failed(Contestant contestant, BenchCase size, string pass, Exception e)
    {
        string reason = e.Message.Split('\n')[0];
        _results.Add(new BenchResult(contestant.Name, size, pass, null, null, null, null, reason));
        if (contestant is FlashContestant)
            _failures.Add($"{size} {pass}: {contestant.Name}: {reason}");
        Console.WriteLine($"{size} {pass}: {contestant.Name} failed: {reason}");
    }

    /// <summary>A contestant in one case.</summary>
    private sealed class Entry(Contestant contestant, ForwardResult[] forward, BenchCase size) : IDisposable
    {
        public Contestant Contestant => contestant;

        public ForwardResult[] Forward => forward;

        public int Launches { get; set; }

        public long? Peak { get; set; }

        public List<double>? Times { get; set; }

        public void Launch(BenchOperands[] sets, int i, bool backward)
        {
            int at = i % sets.Length;
            if (!backward)
                contestant.Forward(sets[at], size).Dispose();
            else
                Array.ForEach(contestant.Backward(sets[at], forward[at], size), tensor => tensor.Dispose());
        }

        public void Dispose() => Array.ForEach(forward, f => f.Dispose());
    }
}
