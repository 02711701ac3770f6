using System.Runtime.InteropServices;
using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Testing;

/// <summary>
/// What a test of the engine needs of the CUDA driver and the engine does not: memory, copies, events. Taken from the library that the
/// engine uses, which may be the emulated GPU; that one need not have events.
/// </summary>
internal sealed unsafe class GpuDriver : IOperandMemory
{
    private readonly delegate* unmanaged<nint*, int, int> _retainContext;
    private readonly delegate* unmanaged<nint, int> _setContext;
    private readonly delegate* unmanaged<int> _synchronize;
    private readonly delegate* unmanaged<nint*, nuint, int> _allocate;
    private readonly delegate* unmanaged<nint, int> _free;
    private readonly delegate* unmanaged<nint, void*, nuint, int> _toDevice;
    private readonly delegate* unmanaged<void*, nint, nuint, int> _toHost;
    private readonly delegate* unmanaged<nint*, uint, int> _createEvent;
    private readonly delegate* unmanaged<nint, nint, int> _recordEvent;
    private readonly delegate* unmanaged<nint, int> _synchronizeEvent;
    private readonly delegate* unmanaged<float*, nint, nint, int> _elapsed;
    private readonly delegate* unmanaged<int, byte**, int> _errorName;
    private readonly nint _context;

    /// <param name="driver">The engine's.</param>
    /// <param name="device">Number of the GPU.</param>
    public GpuDriver(CudaDriver driver, int device)
    {
        nint library = NativeLibrary.Load(driver.Path); // the very library that is loaded already
        nint Export(string name) => NativeLibrary.GetExport(library, name);
        nint Optional(string name) => NativeLibrary.TryGetExport(library, name, out nint address) ? address : 0;
        _retainContext = (delegate* unmanaged<nint*, int, int>)Export("cuDevicePrimaryCtxRetain");
        _setContext = (delegate* unmanaged<nint, int>)Export("cuCtxSetCurrent");
        _synchronize = (delegate* unmanaged<int>)Export("cuCtxSynchronize");
        _allocate = (delegate* unmanaged<nint*, nuint, int>)Export("cuMemAlloc_v2");
        _free = (delegate* unmanaged<nint, int>)Export("cuMemFree_v2");
        _toDevice = (delegate* unmanaged<nint, void*, nuint, int>)Export("cuMemcpyHtoD_v2");
        _toHost = (delegate* unmanaged<void*, nint, nuint, int>)Export("cuMemcpyDtoH_v2");
        _errorName = (delegate* unmanaged<int, byte**, int>)Export("cuGetErrorName");
        _createEvent = (delegate* unmanaged<nint*, uint, int>)Optional("cuEventCreate");
        _recordEvent = (delegate* unmanaged<nint, nint, int>)Optional("cuEventRecord");
        _synchronizeEvent = (delegate* unmanaged<nint, int>)Optional("cuEventSynchronize");
        _elapsed = (delegate* unmanaged<float*, nint, nint, int>)Optional("cuEventElapsedTime");
        nint context;
        Check(_retainContext(&context, device), "cuDevicePrimaryCtxRetain");
        _context = context;
    }

    public int GuardBytes => 512;

    /// <summary>Makes the GPU's context the one of this thread.</summary>
    public void Enter() => Check(_setContext(_context), "cuCtxSetCurrent");

    /// <summary>Waits until all that was launched has run.</summary>
    public void Synchronize() => Check(_synchronize(), "cuCtxSynchronize");

    public nint Allocate(long bytes)
    {
        nint address;
        Check(_allocate(&address, (nuint)bytes), "cuMemAlloc");
        return address;
    }

    /// <summary>Often in the course of another failure, which must not be hidden by that of freeing.</summary>
    public void Free(nint address) => _ = _free(address);

    public void Write(nint address, ReadOnlySpan<byte> bytes)
    {
        fixed (byte* from = bytes)
            Check(_toDevice(address, from, (nuint)bytes.Length), "cuMemcpyHtoD");
    }

    /// <summary>Copies to the host, once all that was launched before on the default stream has run.</summary>
    public void Read(nint address, Span<byte> bytes)
    {
        fixed (byte* to = bytes)
            Check(_toHost(to, address, (nuint)bytes.Length), "cuMemcpyDtoH");
    }

    public nint CreateEvent()
    {
        nint e;
        Check(_createEvent(&e, 0), "cuEventCreate");
        return e;
    }

    /// <summary>Records an event on the default stream.</summary>
    public void Record(nint e) => Check(_recordEvent(e, 0), "cuEventRecord");

    public void WaitFor(nint e) => Check(_synchronizeEvent(e), "cuEventSynchronize");

    /// <summary>Seconds between two events that have happened.</summary>
    public double Seconds(nint from, nint to)
    {
        float milliseconds;
        Check(_elapsed(&milliseconds, from, to), "cuEventElapsedTime");
        return milliseconds / 1e3;
    }

    private void Check(int code, string function)
    {
        if (code == 0)
            return;
        byte* name = null;
        string text = _errorName(code, &name) == 0 && name != null ? Marshal.PtrToStringUTF8((nint)name)! : "unknown error";
        throw new CudaException(function, code, text, $"{function} returned {code} ({text}).");
    }
}
