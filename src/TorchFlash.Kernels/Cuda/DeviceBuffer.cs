using System.Runtime.InteropServices;

namespace TorchFlash.Kernels.Cuda;

/// <summary>
/// Memory of a device that this process allocates itself: the engine works on its callers' memory, the conformance run and tests need some of
/// their own. To be used, and disposed of, with the device's context current.
/// </summary>
internal sealed unsafe class DeviceBuffer : IDisposable
{
    private readonly delegate* unmanaged<nint, int> _free;
    private readonly delegate* unmanaged<nint, void*, nuint, int> _copyToDevice;
    private readonly delegate* unmanaged<void*, nint, nuint, int> _copyToHost;
    private nint _address;

    /// <param name="driver">The driver of the current context.</param>
    /// <param name="bytes">How many, more than 0.</param>
    public DeviceBuffer(CudaDriver driver, long bytes)
    {
        nint library = NativeLibrary.Load(driver.Path); // the very library that is loaded already
        var allocate = (delegate* unmanaged<nint*, nuint, int>)NativeLibrary.GetExport(library, "cuMemAlloc_v2");
        _free = (delegate* unmanaged<nint, int>)NativeLibrary.GetExport(library, "cuMemFree_v2");
        _copyToDevice = (delegate* unmanaged<nint, void*, nuint, int>)NativeLibrary.GetExport(library, "cuMemcpyHtoD_v2");
        _copyToHost = (delegate* unmanaged<void*, nint, nuint, int>)NativeLibrary.GetExport(library, "cuMemcpyDtoH_v2");
        Bytes = bytes;
        nint address;
        Check(allocate(&address, (nuint)bytes), "cuMemAlloc");
        _address = address;
    }

    /// <summary>Where it is on the device.</summary>
    public nint Address => _address;

    public long Bytes { get; }

    /// <summary>Copies to its beginning.</summary>
    public void Write<T>(ReadOnlySpan<T> values) where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((long)values.Length * sizeof(T), Bytes, nameof(values));
        fixed (T* from = values)
            Check(_copyToDevice(_address, from, (nuint)values.Length * (nuint)sizeof(T)), "cuMemcpyHtoD");
    }

    /// <summary>Copies from its beginning, once all that was launched before has run.</summary>
    public void Read<T>(Span<T> values) where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((long)values.Length * sizeof(T), Bytes, nameof(values));
        fixed (T* to = values)
            Check(_copyToHost(to, _address, (nuint)values.Length * (nuint)sizeof(T)), "cuMemcpyDtoH");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        nint address = Interlocked.Exchange(ref _address, 0);
        if (address != 0)
            _ = _free(address); // often in the course of another failure, which must not be hidden
    }

    private static void Check(int code, string function)
    {
        if (code != 0)
            throw new CudaException(function, code, "", $"{function} returned {code}.");
    }
}
