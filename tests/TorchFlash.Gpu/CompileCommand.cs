using System.CommandLine;
using System.Diagnostics;
using TorchFlash.Gpu.Report;
using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Gpu;

/// <summary>The <c>compile</c> verb: how long NVRTC takes over each kernel, which is what a first call waits for. Needs no GPU.</summary>
internal static class CompileCommand
{
    private static readonly string[] Ampere = ["forward_mma", "backward_prepare", "backward_mma", "backward_finish"];
    private static readonly string[] Hopper = ["forward_hopper", "backward_prepare", "backward_hopper", "backward_finish"];
    private static readonly string[] Exact = ["forward_exact", "backward_prepare_exact", "backward_exact", "backward_query_exact"];

    public static Command Create()
    {
        var dims = new Option<int[]>("--dim") { Description = "Head dimensions.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [64, 128] };
        var command = new Command("compile", "Seconds that NVRTC takes over each kernel on this machine's processor; nothing comes out of a cache.") { dims };
        command.SetAction(parsed =>
        {
            var libraries = new CudaLibraries(new LibrarySearch());
            if (libraries.LoadNvrtc(new Version(12, 1), driver: null) is not { } nvrtc)
            {
                Console.Error.WriteLine($"NO NVRTC: {string.Join("; ", libraries.Attempts)}");
                return ExitCode.NoGpu;
            }
            Console.WriteLine($"NVRTC {nvrtc.Version}, {nvrtc.Path}; {Environment.ProcessorCount} processors, one kernel after the other");
            Console.WriteLine("| kernels for | d | type | forward s | backward s | the slowest |");
            Console.WriteLine("| --- | ---: | --- | ---: | ---: | --- |");
            foreach (int dim in parsed.GetValue(dims)!)
            {
                Row(nvrtc, "sm_80", 166912, "bfloat16", 1, dim, Ampere);
                Row(nvrtc, "sm_90a", 232448, "bfloat16", 1, dim, Hopper);
                Row(nvrtc, "sm_80", 166912, "float32", 2, dim, Exact);
            }
            return ExitCode.Passed;
        });
        return command;
    }

    private static void Row(Nvrtc nvrtc, string target, int sharedLimit, string type, int typeNumber, int dim, string[] kernels)
    {
        (string Kernel, double Seconds)[] times = [.. kernels.Select(kernel => (kernel, Seconds(nvrtc, KernelVariant.Create(kernel, target,
        [
            ("K_TYPE", typeNumber), ("K_HEAD_DIM", dim), ("K_VALUE_DIM", dim), ("K_CAUSAL", 1), ("K_NEGATE", 0), ("K_ALIGNED", dim % 8 == 0 ? 1 : 0),
            ("K_DETERMINISTIC", 0), ("K_SHARED_LIMIT", sharedLimit),
        ]))))];
        (string slowest, double most) = times.MaxBy(t => t.Seconds);
        Console.WriteLine(FormattableString.Invariant($"| {target} | {dim} | {type} | {times[0].Seconds:F1} | {times[1..].Sum(t => t.Seconds):F1} | {slowest} {most:F1} |"));
    }

    private static double Seconds(Nvrtc nvrtc, KernelVariant variant)
    {
        KernelSources sources = KernelSources.Embedded;
        var clock = Stopwatch.StartNew();
        nvrtc.Compile(variant.FileName, sources[variant.FileName], sources.HeadersOf(variant.FileName), variant.Options, variant.IsPtx, variant.ToString());
        return clock.Elapsed.TotalSeconds;
    }
}
