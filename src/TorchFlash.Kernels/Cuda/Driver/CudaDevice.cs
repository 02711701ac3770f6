namespace TorchFlash.Kernels.Cuda;

/// <summary>One GPU and its primary context, the one that the CUDA run-time and libtorch use.</summary>
internal sealed class CudaDevice
{
    private readonly Lazy<nint> _context;

    /// <exception cref="CudaException">The driver gives no access.</exception>
    public CudaDevice(CudaDriver driver, int ordinal)
    {
        Driver = driver;
        Ordinal = ordinal;
        int device = driver.Device(ordinal);
        Name = driver.DeviceName(device);
        TotalMemory = driver.TotalMemory(device);
        Capability = new Version(driver.Attribute(DeviceAttribute.ComputeCapabilityMajor, device), driver.Attribute(DeviceAttribute.ComputeCapabilityMinor, device));
        Multiprocessors = driver.Attribute(DeviceAttribute.MultiprocessorCount, device);
        SharedLimit = driver.Attribute(DeviceAttribute.MaxSharedMemoryPerBlockOptin, device);
        _context = new Lazy<nint>(() => driver.RetainPrimaryContext(device)); // takes GPU memory: only for those who launch
    }

    public CudaDriver Driver { get; }

    public int Ordinal { get; }

    public string Name { get; }

    /// <summary>Bytes.</summary>
    public long TotalMemory { get; }

    /// <summary>Compute capability, 9.0 of Hopper.</summary>
    public Version Capability { get; }

    public int Multiprocessors { get; }

    /// <summary>Bytes of shared memory that a block may have.</summary>
    public int SharedLimit { get; }

    /// <summary>As in sm_86: 86.</summary>
    public int Architecture => Capability.Major * 10 + Capability.Minor;

    /// <summary>What decides about kernels.</summary>
    public KernelTarget Target(Nvrtc nvrtc) => new(KernelTarget.NameFor(Architecture, nvrtc.Architectures), Architecture, SharedLimit, Driver.HasTensorMaps);

    /// <summary>Makes the context current on this thread until the scope ends; then the one that was current before is so again.</summary>
    public Scope Enter()
    {
        Driver.PushContext(_context.Value);
        return new Scope(Driver);
    }

    public readonly ref struct Scope(CudaDriver driver)
    {
        public void Dispose() => driver.PopContext();
    }
}
