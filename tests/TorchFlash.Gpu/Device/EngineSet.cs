using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Files;

namespace TorchFlash.Gpu.Device;

/// <summary>Which kernels a measurement or a check is of.</summary>
internal enum KernelFamily
{
    /// <summary>What users get.</summary>
    Default,

    /// <summary>mma.sync, as on every GPU since Ampere, also where the GPU could do more.</summary>
    Mma,
}

/// <summary>The engines under test on one GPU, one for each family of kernels, and the driver beside them.</summary>
internal sealed class EngineSet
{
    private readonly int _device;
    private readonly Dictionary<KernelTuning, CudaEngine> _tuned = [];
    private readonly List<CudaRuntime> _runtimes;

    private EngineSet(int device, CudaRuntime runtime, CudaEngine engine)
    {
        (_device, Runtime, Default, _runtimes) = (device, runtime, engine, [runtime]);
        CudaDriver driver = runtime.Driver!;
        Gpu = new GpuDriver(driver, device);
        int handle = driver.Device(device);
        Architecture = driver.Attribute(DeviceAttribute.ComputeCapabilityMajor, handle) * 10 + driver.Attribute(DeviceAttribute.ComputeCapabilityMinor, handle);
        Multiprocessors = driver.Attribute(DeviceAttribute.MultiprocessorCount, handle);
        Name = driver.DeviceName(handle);
    }

    public CudaRuntime Runtime { get; }

    /// <summary>The engine that users get.</summary>
    public CudaEngine Default { get; }

    public GpuDriver Gpu { get; }

    public bool IsEmulated => Runtime.Driver!.IsEmulated;

    /// <summary>As in sm_90: 90.</summary>
    public int Architecture { get; }

    public int Multiprocessors { get; }

    /// <summary>What the driver calls the GPU.</summary>
    public string Name { get; }

    /// <summary>Every family that this GPU tells apart.</summary>
    public KernelFamily[] Families => HasHopper ? [KernelFamily.Default, KernelFamily.Mma] : [KernelFamily.Default];

    /// <summary>Whether there are kernels with wgmma and TMA to compare with those of mma.sync.</summary>
    public bool HasHopper => Architecture == 90;

    /// <summary>What all of them have compiled.</summary>
    public IReadOnlyList<CompiledKernel> Compiled
    {
        get
        {
            lock (_tuned)
                return [.. _runtimes.SelectMany(r => r.Compiler!.Compiled)];
        }
    }

    /// <summary>What the compiler said of kernels that must not be: see <see cref="CompilerLog.Complaints"/>.</summary>
    public IReadOnlyList<string> Complaints
    {
        get
        {
            lock (_tuned)
                return [.. from runtime in _runtimes from said in runtime.Compiler!.Warnings from line in CompilerLog.Complaints(said.Log) select $"{said.Variant}: {line}"];
        }
    }

    /// <summary>Null, with the reason, where there is no engine.</summary>
    public static EngineSet? TryCreate(int device, out string reason)
    {
        CudaRuntime runtime = CudaRuntime.Instance;
        CudaEngine? engine = runtime.Engine(device, out reason);
        return engine is null ? null : new EngineSet(device, runtime, engine);
    }

    public CudaEngine Of(KernelFamily family) => family == KernelFamily.Default ? Default : Tuned(new KernelTuning { AvoidHopper = true });

    /// <summary>An engine of its own for a tuning; kernels that it shares with others come out of the cache.</summary>
    public CudaEngine Tuned(KernelTuning tuning)
    {
        lock (_tuned)
        {
            if (!_tuned.TryGetValue(tuning, out CudaEngine? engine))
            {
                var runtime = new CudaRuntime(new LibrarySearch(), DiskCache.FromEnvironment(), KernelSources.Embedded, tuning);
                engine = runtime.Engine(_device, out string reason) ?? throw new InvalidOperationException(reason);
                _tuned.Add(tuning, engine);
                _runtimes.Add(runtime);
            }
            return engine;
        }
    }
}
