using System.Runtime.InteropServices;

namespace TorchFlash.Kernels.Cuda;

/// <summary>
/// The CUDA driver: those of its functions that are needed, taken from one library by name. Not [LibraryImport], which knows one library
/// of a name in a process: the tests have the emulated GPU beside real libraries. Every failure becomes a <see cref="CudaException"/>.
/// </summary>
internal sealed unsafe class CudaDriver
{
    private readonly delegate* unmanaged<uint, int> _init;
    private readonly delegate* unmanaged<int*, int> _driverGetVersion;
    private readonly delegate* unmanaged<int, byte**, int> _getErrorName;
    private readonly delegate* unmanaged<int, byte**, int> _getErrorString;
    private readonly delegate* unmanaged<int*, int> _deviceGetCount;
    private readonly delegate* unmanaged<int*, int, int> _deviceGet;
    private readonly delegate* unmanaged<byte*, int, int, int> _deviceGetName;
    private readonly delegate* unmanaged<nuint*, int, int> _deviceTotalMem;
    private readonly delegate* unmanaged<int*, int, int, int> _deviceGetAttribute;
    private readonly delegate* unmanaged<nint*, int, int> _devicePrimaryCtxRetain;
    private readonly delegate* unmanaged<nint, int> _ctxPushCurrent;
    private readonly delegate* unmanaged<nint*, int> _ctxPopCurrent;
    private readonly delegate* unmanaged<nint*, void*, int> _moduleLoadData;
    private readonly delegate* unmanaged<nint*, nint, byte*, int> _moduleGetFunction;
    private readonly delegate* unmanaged<nint*, nuint*, nint, byte*, int> _moduleGetGlobal;
    private readonly delegate* unmanaged<void*, nint, nuint, int> _memcpyDeviceToHost;
    private readonly delegate* unmanaged<nint, int, int, int> _funcSetAttribute;
    private readonly delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, int> _launchKernel;

    // Missing in drivers before CUDA 12.0, which know no Hopper either.
    private readonly delegate* unmanaged<TensorMap*, int, uint, nint, ulong*, ulong*, uint*, uint*, int, int, int, int, int> _tensorMapEncodeTiled;

    // What this thread may call while a graph is captured.
    private readonly delegate* unmanaged<int*, int> _threadExchangeStreamCaptureMode;

    // The emulated GPU only: what it found wrong with the kernel of the last launch.
    private readonly delegate* unmanaged<byte*> _emulationLastError;

    /// <param name="library">Handle of a loaded library.</param>
    /// <param name="path">Where it came from.</param>
    /// <exception cref="EntryPointNotFoundException">The library lacks a function that is needed.</exception>
    /// <exception cref="CudaException">The driver does not start, for instance because there is no GPU.</exception>
    public CudaDriver(nint library, string path)
    {
        Path = path;
        nint Export(string name) => NativeLibrary.GetExport(library, name);
        nint Optional(string name) => NativeLibrary.TryGetExport(library, name, out nint address) ? address : 0;
        _init = (delegate* unmanaged<uint, int>)Export("cuInit");
        _driverGetVersion = (delegate* unmanaged<int*, int>)Export("cuDriverGetVersion");
        _getErrorName = (delegate* unmanaged<int, byte**, int>)Export("cuGetErrorName");
        _getErrorString = (delegate* unmanaged<int, byte**, int>)Export("cuGetErrorString");
        _deviceGetCount = (delegate* unmanaged<int*, int>)Export("cuDeviceGetCount");
        _deviceGet = (delegate* unmanaged<int*, int, int>)Export("cuDeviceGet");
        _deviceGetName = (delegate* unmanaged<byte*, int, int, int>)Export("cuDeviceGetName");
        _deviceTotalMem = (delegate* unmanaged<nuint*, int, int>)Export("cuDeviceTotalMem_v2");
        _deviceGetAttribute = (delegate* unmanaged<int*, int, int, int>)Export("cuDeviceGetAttribute");
        _devicePrimaryCtxRetain = (delegate* unmanaged<nint*, int, int>)Export("cuDevicePrimaryCtxRetain");
        _ctxPushCurrent = (delegate* unmanaged<nint, int>)Export("cuCtxPushCurrent_v2");
        _ctxPopCurrent = (delegate* unmanaged<nint*, int>)Export("cuCtxPopCurrent_v2");
        _moduleLoadData = (delegate* unmanaged<nint*, void*, int>)Export("cuModuleLoadData");
        _moduleGetFunction = (delegate* unmanaged<nint*, nint, byte*, int>)Export("cuModuleGetFunction");
        _moduleGetGlobal = (delegate* unmanaged<nint*, nuint*, nint, byte*, int>)Export("cuModuleGetGlobal_v2");
        _memcpyDeviceToHost = (delegate* unmanaged<void*, nint, nuint, int>)Export("cuMemcpyDtoH_v2");
        _funcSetAttribute = (delegate* unmanaged<nint, int, int, int>)Export("cuFuncSetAttribute");
        _launchKernel = (delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, int>)Export("cuLaunchKernel");
        _threadExchangeStreamCaptureMode = (delegate* unmanaged<int*, int>)Export("cuThreadExchangeStreamCaptureMode");
        _tensorMapEncodeTiled = (delegate* unmanaged<TensorMap*, int, uint, nint, ulong*, ulong*, uint*, uint*, int, int, int, int, int>)Optional("cuTensorMapEncodeTiled");
        _emulationLastError = (delegate* unmanaged<byte*>)Optional("emulation_last_error");

        Check(_init(0), "cuInit");
        int version;
        Check(_driverGetVersion(&version), "cuDriverGetVersion");
        Version = new Version(version / 1000, version % 1000 / 10);
        int count;
        Check(_deviceGetCount(&count), "cuDeviceGetCount");
        DeviceCount = count;
    }

    /// <summary>Where the library came from.</summary>
    public string Path { get; }

    /// <summary>The newest CUDA that the driver supports.</summary>
    public Version Version { get; }

    /// <summary>Number of GPUs that this process may use.</summary>
    public int DeviceCount { get; }

    /// <summary>Whether tensor maps can be made.</summary>
    public bool HasTensorMaps => _tensorMapEncodeTiled != null;

    /// <summary>Whether this is the emulated GPU.</summary>
    public bool IsEmulated => _emulationLastError != null;

    public int Device(int ordinal)
    {
        int device;
        Check(_deviceGet(&device, ordinal), "cuDeviceGet");
        return device;
    }

    public string DeviceName(int device)
    {
        byte* name = stackalloc byte[256];
        Check(_deviceGetName(name, 256, device), "cuDeviceGetName");
        return Marshal.PtrToStringUTF8((nint)name)!;
    }

    public long TotalMemory(int device)
    {
        nuint bytes;
        Check(_deviceTotalMem(&bytes, device), "cuDeviceTotalMem");
        return (long)bytes;
    }

    public int Attribute(DeviceAttribute attribute, int device)
    {
        int value;
        Check(_deviceGetAttribute(&value, (int)attribute, device), "cuDeviceGetAttribute");
        return value;
    }

    /// <summary>The context that the CUDA run-time, and with it libtorch, uses on the device. Kept until the process ends.</summary>
    public nint RetainPrimaryContext(int device)
    {
        nint context;
        Check(_devicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
        return context;
    }

    public void PushContext(nint context) => Check(_ctxPushCurrent(context), "cuCtxPushCurrent");

    /// <summary>Undoes <see cref="PushContext"/>; in a finally block, where a failure would hide the one that led there.</summary>
    public void PopContext()
    {
        nint context;
        _ = _ctxPopCurrent(&context);
    }

    /// <summary>Loads machine code or PTX, also while some stream of the process is being captured into a graph, whose work this is not.</summary>
    public nint LoadModule(ReadOnlySpan<byte> image)
    {
        const int relaxed = 2;
        nint module;
        int mode = relaxed;
        Check(_threadExchangeStreamCaptureMode(&mode), "cuThreadExchangeStreamCaptureMode");
        try
        {
            fixed (byte* data = image)
                Check(_moduleLoadData(&module, data), "cuModuleLoadData");
        }
        finally
        {
            _ = _threadExchangeStreamCaptureMode(&mode);
        }
        return module;
    }

    public nint Function(nint module, string name)
    {
        nint function;
        fixed (byte* text = Utf8(name))
            Check(_moduleGetFunction(&function, module, text), "cuModuleGetFunction", name);
        return function;
    }

    /// <summary>Reads a variable of a module.</summary>
    public void ReadGlobal<T>(nint module, string name, Span<T> destination) where T : unmanaged
    {
        nint address;
        nuint bytes;
        fixed (byte* text = Utf8(name))
            Check(_moduleGetGlobal(&address, &bytes, module, text), "cuModuleGetGlobal", name);
        if ((nuint)(destination.Length * sizeof(T)) != bytes)
            throw new InvalidOperationException($"{name} has {bytes} bytes, expected {destination.Length * sizeof(T)}.");
        fixed (T* to = destination)
            Check(_memcpyDeviceToHost(to, address, bytes), "cuMemcpyDtoH", name);
    }

    public void AllowSharedMemory(nint function, int bytes)
    {
        const int maxDynamicSharedSizeBytes = 8;
        Check(_funcSetAttribute(function, maxDynamicSharedSizeBytes, bytes), "cuFuncSetAttribute", $"{bytes} bytes of shared memory");
    }

    /// <summary>Launches a one-dimensional grid.</summary>
    public void Launch(nint function, uint blocks, int threads, int sharedBytes, nint stream, void** parameters, string kernel) =>
        Check(_launchKernel(function, blocks, 1, 1, (uint)threads, 1, 1, (uint)sharedBytes, stream, parameters, null), "cuLaunchKernel", kernel);

    /// <summary>Fills the map (64-byte aligned) of a tensor of rank 4; see <see cref="TensorMap"/>.</summary>
    public void EncodeTiled(TensorMap* map, int dataType, nint address, ulong* sizes, ulong* strides, uint* box, int swizzle)
    {
        const int rank = 4, noInterleave = 0, promoteTo256Bytes = 3, fillWithZeros = 0;
        uint* steps = stackalloc uint[rank] { 1, 1, 1, 1 };
        Check(_tensorMapEncodeTiled(map, dataType, rank, address, sizes, strides, box, steps, noInterleave, swizzle, promoteTo256Bytes, fillWithZeros),
            "cuTensorMapEncodeTiled",
            $"sizes {sizes[0]}, {sizes[1]}, {sizes[2]}, {sizes[3]}, strides {strides[0]}, {strides[1]}, {strides[2]} bytes, box {box[0]} x {box[1]}");
    }

    private static byte[] Utf8(string text) => System.Text.Encoding.UTF8.GetBytes(text + '\0');

    private void Check(int code, string function, string? subject = null)
    {
        if (code != 0)
            throw Failure(code, function, subject);
    }

    private CudaException Failure(int code, string function, string? subject)
    {
        byte* text = null;
        string name = _getErrorName(code, &text) == 0 && text != null ? Marshal.PtrToStringUTF8((nint)text)! : "unknown error";
        text = null;
        string description = _getErrorString(code, &text) == 0 && text != null ? Marshal.PtrToStringUTF8((nint)text)! : "no description";
        string finding = _emulationLastError != null && Marshal.PtrToStringUTF8((nint)_emulationLastError()) is { Length: > 0 } found
            ? Environment.NewLine + found : "";
        return new CudaException(function, code, name,
            $"{function}{(subject is null ? "" : $" ({subject})")} returned {code} ({name}): {description}.{finding}");
    }
}

/// <summary>Attributes of a device that the engine asks for (CUdevice_attribute).</summary>
internal enum DeviceAttribute
{
    MultiprocessorCount = 16,
    ComputeCapabilityMajor = 75,
    ComputeCapabilityMinor = 76,
    MaxSharedMemoryPerBlockOptin = 97,
}
