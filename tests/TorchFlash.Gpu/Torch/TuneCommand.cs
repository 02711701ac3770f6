using System.CommandLine;
using System.Diagnostics;
using TorchFlash.Gpu.Report;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cuda;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Gpu.Torch;

/// <summary>The <c>tune</c> verb: the same kernel with other tile sizes, by the macros that override what the kernel chooses.</summary>
internal static class TuneCommand
{
    private static readonly string[] Kernels = ["forward_hopper", "backward_hopper", "forward_mma", "backward_mma"];

    public static Command Create()
    {
        var kernels = new Option<string[]>("--kernel") { Description = $"Of {string.Join(", ", Kernels)}; all by default.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => Kernels };
        var dims = new Option<int[]>("--dim") { Description = "Head dimensions.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [128, 64] };
        var length = new Option<int>("--n") { Description = "Sequence length.", DefaultValueFactory = _ => 8192 };
        Option<int[]> rows = Values("--block-m", "K_BLOCK_M", [64, 128, 192]), columns = Values("--block-n", "K_BLOCK_N", [32, 64, 96, 128, 160, 176]);
        Option<int[]> stages = Values("--stages", "K_STAGES", [1, 2, 3]);
        var command = new Command("tune", "Times of kernels with other tile sizes.") { kernels, dims, length, rows, columns, stages, TorchGpu.Rehearsal };
        command.SetAction(parsed =>
        {
            using TorchGpu? gpu = TorchGpu.Open(parsed);
            if (gpu is null)
                return ExitCode.NoGpu;
            using IDisposable noGradient = no_grad();
            var sweep = new Sweep(gpu, parsed.GetValue(GpuOptions.Seconds));
            foreach (string kernel in parsed.GetValue(kernels)!.Where(k => gpu.Engines.HasHopper || !k.Contains("hopper", StringComparison.Ordinal)))
                foreach (int dim in parsed.GetValue(dims)!)
                    foreach (bool causal in (bool[])[false, true])
                    {
                        int n = gpu.IsRehearsal ? 64 : parsed.GetValue(length);
                        var size = new BenchCase(gpu.IsRehearsal ? 1 : Math.Max(1, 16384 / n), gpu.IsRehearsal ? 1 : 2048 / dim, n, dim, causal, ScalarType.BFloat16);
                        sweep.Run(kernel, size, parsed.GetValue(rows)!, parsed.GetValue(columns)!, parsed.GetValue(stages)!);
                    }
            return sweep.Report().Write(parsed.GetValue(GpuOptions.Out)!);
        });
        return command;
    }

    private static Option<int[]> Values(string name, string macro, int[] values) => new(name)
    {
        Description = $"Values of {macro}.",
        AllowMultipleArgumentsPerToken = true,
        DefaultValueFactory = _ => values,
    };
}

/// <summary>One combination of tile sizes.</summary>
internal sealed record TuneResult(string Kernel, BenchCase Case, string Tiles, double? Milliseconds, double? Teraflops, string? Note);

/// <summary>Runs combinations and keeps the results.</summary>
internal sealed class Sweep(TorchGpu gpu, double seconds)
{
    private const int Repeats = 3;

    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly List<TuneResult> _results = [];
    private readonly List<string> _skipped = [];

    public void Run(string kernel, BenchCase size, int[] rows, int[] columns, int[] stages)
    {
        var tunings = new List<(string Tiles, KernelTuning Tuning)> { ("chosen", Base(kernel)) };
        foreach (int m in rows)
            foreach (int n in columns)
                foreach (int s in stages)
                    tunings.Add(($"{m} x {n}, {s} stages", Base(kernel).With(kernel, "K_BLOCK_M", m).With(kernel, "K_BLOCK_N", n).With(kernel, "K_STAGES", s)));
        if (gpu.IsRehearsal)
            tunings.RemoveRange(2, tunings.Count - 2);
        if (_clock.Elapsed.TotalSeconds > seconds)
        {
            _skipped.Add($"{kernel} {size}");
            return;
        }
        // What does not fit, or is no shape for the kernel, is refused by the compiler: all of them at once, beforehand.
        // The first one compiles what the others share, too.
        var refusals = new string?[tunings.Count];
        refusals[0] = Refusal(kernel, size, tunings[0].Tuning);
        Parallel.For(1, tunings.Count, i => refusals[i] = Refusal(kernel, size, tunings[i].Tuning));
        using var operands = new BenchOperands(gpu, size);
        for (int i = 0; i < tunings.Count; i++)
            Measure(kernel, size, operands, tunings[i].Tiles, tunings[i].Tuning, refusals[i]);
        foreach (TuneResult result in _results.Where(r => r.Kernel == kernel && r.Case == size && r.Teraflops is not null).OrderByDescending(r => r.Teraflops).Take(8))
            Console.WriteLine(FormattableString.Invariant($"{kernel} {size}: {result.Tiles,-22} {result.Teraflops:F0} TFLOP/s"));
    }

    /// <summary>Why these tiles cannot be; null where they can.</summary>
    private string? Refusal(string kernel, BenchCase size, KernelTuning tuning)
    {
        try
        {
            gpu.Engines.Tuned(tuning).Precompile(size.Problem, new PrecompileOptions { ForwardOnly = kernel.StartsWith("forward", StringComparison.Ordinal) });
            return null;
        }
        catch (Exception e)
        {
            return e.Message.Split('\n').FirstOrDefault(line => line.Contains("error", StringComparison.OrdinalIgnoreCase)) ?? e.Message.Split('\n')[0];
        }
    }

    public PartReport Report() => new(
        "tune", _results.Any(r => r.Teraflops is not null), GpuOptions.Name(gpu.Engines), gpu.Engines.IsEmulated || gpu.IsRehearsal, _results.Count, [],
        new { Results = _results, Skipped = _skipped })
    {
        Seconds = _clock.Elapsed.TotalSeconds,
    };

    private static KernelTuning Base(string kernel) => new() { AvoidHopper = kernel.Contains("mma", StringComparison.Ordinal) };

    private void Measure(string kernel, BenchCase size, BenchOperands operands, string tiles, KernelTuning tuning, string? refusal)
    {
        if (refusal is null && _clock.Elapsed.TotalSeconds > seconds)
            refusal = "not measured, the time was over";
        if (refusal is not null)
        {
            _results.Add(new TuneResult(kernel, size, tiles, null, null, refusal));
            return;
        }
        try
        {
            bool backward = kernel.StartsWith("backward", StringComparison.Ordinal);
            var contestant = new FlashContestant(tiles, gpu, gpu.Engines.Tuned(tuning));
            using ForwardResult forward = contestant.Forward(operands, size);
            double[] times = [.. Enumerable.Range(0, gpu.IsRehearsal ? 1 : 7).Select(_ => gpu.Seconds(() => Launch(contestant, operands, forward, size, backward)) / Repeats)];
            double median = times.Order().ElementAt(times.Length / 2);
            _results.Add(new TuneResult(kernel, size, tiles, median * 1e3, (backward ? size.BackwardOperations : size.ForwardOperations) / median / 1e12, null));
        }
        catch (Exception e)
        {
            _results.Add(new TuneResult(kernel, size, tiles, null, null, e.Message.Split('\n')[0]));
        }
    }

    private static void Launch(FlashContestant contestant, BenchOperands operands, ForwardResult forward, BenchCase size, bool backward)
    {
        for (int i = 0; i < Repeats; i++)
        {
            if (backward)
                Array.ForEach(contestant.Backward(operands, forward, size), tensor => tensor.Dispose());
            else
                contestant.Forward(operands, size).Dispose();
        }
    }
}
