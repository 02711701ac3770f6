using System.CommandLine;
using System.Diagnostics;
using TorchFlash.Attention;
using TorchFlash.Gpu.Device;
using TorchFlash.Gpu.Report;
using TorchSharp;
using static TorchSharp.torch;
using TorchDevice = TorchSharp.torch.Device;

namespace TorchFlash.Gpu.Torch;

/// <summary>
/// libtorch's side of a GPU: its tensors, a clock on the default stream, its memory. A rehearsal has tensors of the CPU, which the
/// engine gets through copies: it shows that a part runs, and nothing about time.
/// </summary>
internal sealed class TorchGpu : IDisposable
{
    private readonly IDisposable? _replacement;
    private readonly nint _from, _to;

    private TorchGpu(EngineSet engines, bool rehearsal, int device)
    {
        (Engines, IsRehearsal, Index) = (engines, rehearsal, device);
        Device = rehearsal ? CPU : new TorchDevice(DeviceType.CUDA, device);
        if (rehearsal)
        {
            _replacement = Attention.Engines.Replace(DeviceType.CPU, new HostedEngine(engines.Default, engines.Gpu));
            return;
        }
        engines.Gpu.Enter();
        (_from, _to) = (engines.Gpu.CreateEvent(), engines.Gpu.CreateEvent());
    }

    /// <summary>Tensors on the CPU, the engine on the GPU or the emulated one.</summary>
    public static Option<bool> Rehearsal { get; } = new("--rehearsal")
    {
        Description = "Small sizes on tensors of the CPU, through the engine on the GPU or the emulated one: shows that this part runs, measures nothing.",
    };

    public EngineSet Engines { get; }

    public bool IsRehearsal { get; }

    public int Index { get; }

    /// <summary>Where tensors are made.</summary>
    public TorchDevice Device { get; }

    /// <summary>What the command line asks for; null, said loudly, where there is no GPU or libtorch does not see it.</summary>
    public static TorchGpu? Open(ParseResult parsed)
    {
        if (GpuOptions.Engines(parsed) is not { } engines)
            return null;
        bool rehearsal = parsed.GetValue(Rehearsal);
        int device = parsed.GetValue(GpuOptions.Device);
        if (!rehearsal && cuda.device_count() <= device)
        {
            Console.Error.WriteLine($"NO GPU: libtorch {__version__} sees {cuda.device_count()} CUDA devices, and device {device} was asked for.");
            Console.Error.WriteLine("Nothing was run.");
            return null;
        }
        return new TorchGpu(engines, rehearsal, device);
    }

    /// <summary>Tensors of the CPU through the engines given.</summary>
    public static TorchGpu Rehearse(EngineSet engines) => new(engines, rehearsal: true, 0);

    public void Synchronize()
    {
        if (!IsRehearsal)
            cuda.synchronize(Device);
    }

    /// <summary>Seconds that the GPU spends on what <paramref name="launch"/> enqueues.</summary>
    /// <param name="launch">What.</param>
    /// <param name="ahead">Enqueued before, and not counted: while the GPU is busy with it, the processor gets ahead.</param>
    public double Seconds(Action launch, Action? ahead = null)
    {
        if (IsRehearsal)
        {
            var clock = Stopwatch.StartNew();
            launch();
            return clock.Elapsed.TotalSeconds;
        }
        GpuDriver gpu = Engines.Gpu;
        ahead?.Invoke();
        gpu.Record(_from);
        launch();
        gpu.Record(_to);
        gpu.WaitFor(_to);
        return gpu.Seconds(_from, _to);
    }

    /// <summary>Bytes of tensors that are added at most while <paramref name="action"/> runs; null where libtorch does not tell.</summary>
    public long? PeakGrowth(Action action)
    {
        if (IsRehearsal)
        {
            action();
            return null;
        }
        try
        {
            Synchronize();
            cuda.ResetPeakMemory(Index);
            long before = cuda.Memory(Index).Allocated;
            action();
            Synchronize();
            return cuda.Memory(Index).Peak - before;
        }
        catch (System.Runtime.InteropServices.ExternalException)
        {
            action();
            return null;
        }
    }

    /// <summary>Standard normal random numbers.</summary>
    public Tensor Normal(ScalarType type, params long[] size) => randn(size, dtype: ScalarType.Float32, device: Device).to(type);

    public void Dispose() => _replacement?.Dispose();
}
