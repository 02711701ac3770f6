using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>
/// The emulated GPU (native/emulation): the engine's own classes for the driver and NVRTC on top of it, and what only tests need. Findings,
/// statistics and options (seed, workers, ...) belong to the calling thread.
/// </summary>
internal static unsafe class EmulatedGpu
{
    private static readonly Lazy<Exports> s_exports = new(() => new Exports(NativeLibrary.Load(EmulatedLibrary.Path)));

    /// <summary>Its driver: device 0 is an sm_80, 1 an sm_90, 2 an sm_86.</summary>
    public static CudaDriver Driver => s_exports.Value.Driver;

    /// <summary>Its compiler.</summary>
    public static Nvrtc Nvrtc => s_exports.Value.Nvrtc;

    /// <summary>Makes a device current on this thread until the result is disposed of.</summary>
    public static Current Use(int device)
    {
        Driver.PushContext(s_exports.Value.Contexts[device]);
        return new Current();
    }

    /// <summary>Sets an option of this thread: seed, workers, races, conflicts_fail, shared_conflicts, ...</summary>
    public static void Set(string option, long value)
    {
        fixed (byte* name = Utf8(option))
            Assert.Equal(0, s_exports.Value.SetOption(name, value));
    }

    /// <summary>Names the compiler of this thread's programs; empty for the usual one.</summary>
    public static void SetCompiler(string name)
    {
        fixed (byte* text = Utf8(name))
            s_exports.Value.SetCompiler(text);
    }

    /// <summary>Makes ordinary memory an operand of kernels until the result is disposed of.</summary>
    public static Registration Register(void* memory, long bytes, bool writable)
    {
        Assert.Equal(0, s_exports.Value.RegisterHost((nint)memory, (nuint)bytes, writable ? 1 : 0));
        return new Registration((nint)memory);
    }

    /// <summary>What was wrong in the last launch of this thread; empty where nothing was.</summary>
    public static string LastError => Marshal.PtrToStringUTF8((nint)s_exports.Value.LastError())!;

    /// <summary>Counts of the last launch of this thread: mma, ldmatrix, ldmatrix_conflicts, shared_conflicts, ...</summary>
    public static IReadOnlyDictionary<string, long> Statistics =>
        Marshal.PtrToStringUTF8((nint)s_exports.Value.Statistics())!.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => line.Split(' ')).ToDictionary(parts => parts[0], parts => long.Parse(parts[1], CultureInfo.InvariantCulture));

    /// <summary>Compiles a program against the headers of native/cuda.</summary>
    public static byte[] Compile(string name, string source, string architecture, params string[] macros) =>
        Nvrtc.Compile(name, source, s_exports.Value.Headers, ["--std=c++17", "--gpu-architecture=" + architecture, .. macros.Select(m => "-D" + m)],
            toPtx: false, name).Image;

    /// <summary>Launches one-dimensional blocks; what was found, or null.</summary>
    public static string? Launch(nint function, int blocks, int threads, int sharedBytes, void** parameters)
    {
        try
        {
            Driver.Launch(function, (uint)blocks, threads, sharedBytes, 0, parameters, "kernel");
            return null;
        }
        catch (CudaException)
        {
            return LastError;
        }
    }

    /// <summary>Size of a kernel's parameter in bytes.</summary>
    public static int ParameterBytes(nint function, int index)
    {
        nuint offset, bytes;
        Assert.Equal(0, s_exports.Value.FuncGetParamInfo(function, (nuint)index, &offset, &bytes));
        return (int)bytes;
    }

    /// <summary>These bytes are no element's: a kernel may neither read nor write them.</summary>
    public static void MarkGap(nint address, long bytes) => Assert.Equal(0, s_exports.Value.MarkGap(address, (nuint)bytes));

    /// <summary>These bytes may be read, but not written.</summary>
    public static void MarkInput(nint address, long bytes) => Assert.Equal(0, s_exports.Value.MarkInput(address, (nuint)bytes));

    /// <summary>A stream of the current context.</summary>
    public static nint CreateStream()
    {
        nint stream;
        Assert.Equal(0, s_exports.Value.StreamCreate(&stream, 0));
        return stream;
    }

    /// <summary>The context that is current on this thread; 0: none.</summary>
    public static nint CurrentContext()
    {
        nint context;
        Assert.Equal(0, s_exports.Value.GetCurrentContext(&context));
        return context;
    }

    private static byte[] Utf8(string text) => Encoding.UTF8.GetBytes(text + '\0');

    /// <summary>Ends a device's being current.</summary>
    internal readonly struct Current : IDisposable
    {
        public void Dispose() => Driver.PopContext();
    }

    /// <summary>Ends ordinary memory's being an operand.</summary>
    internal readonly struct Registration(nint memory) : IDisposable
    {
        public void Dispose() => Assert.Equal(0, s_exports.Value.UnregisterHost(memory));
    }

    /// <summary>
    /// Device memory between guard pages, poisoned and "never written" at first: a kernel that reads what nobody wrote is an error, and so is any
    /// access to a gap and any store to an input.
    /// </summary>
    internal sealed class Memory<T> : IDisposable where T : unmanaged
    {
        public Memory(int length)
        {
            Length = length;
            nint address;
            Assert.Equal(0, s_exports.Value.MemAlloc(&address, (nuint)(length * sizeof(T))));
            Address = address;
        }

        /// <summary>An input: may be read, not written, by kernels.</summary>
        public static Memory<T> Input(ReadOnlySpan<T> values)
        {
            var memory = new Memory<T>(values.Length);
            memory.Write(values);
            EmulatedGpu.MarkInput(memory.Address, (long)memory.Length * sizeof(T));
            return memory;
        }

        public nint Address { get; }

        public int Length { get; }

        public void Write(ReadOnlySpan<T> values)
        {
            fixed (T* from = values)
                Assert.Equal(0, s_exports.Value.MemcpyHostToDevice(Address, from, (nuint)(values.Length * sizeof(T))));
        }

        public T[] Read()
        {
            var values = new T[Length];
            fixed (T* to = values)
                Assert.Equal(0, s_exports.Value.MemcpyDeviceToHost(to, Address, (nuint)(Length * sizeof(T))));
            return values;
        }

        /// <summary>Elements that may neither be read nor written by kernels.</summary>
        public void MarkGap(int first, int count) =>
            EmulatedGpu.MarkGap(Address + (nint)first * sizeof(T), (long)count * sizeof(T));

        public void Dispose() => Assert.Equal(0, s_exports.Value.MemFree(Address));
    }

    private sealed class Exports
    {
        public Exports(nint library)
        {
            Driver = new CudaDriver(library, EmulatedLibrary.Path);
            Nvrtc = new Nvrtc(library, EmulatedLibrary.Path);
            Contexts = [.. Enumerable.Range(0, Driver.DeviceCount).Select(d => Driver.RetainPrimaryContext(Driver.Device(d)))];
            nint Export(string name) => NativeLibrary.GetExport(library, name);
            MemAlloc = (delegate* unmanaged<nint*, nuint, int>)Export("cuMemAlloc_v2");
            MemFree = (delegate* unmanaged<nint, int>)Export("cuMemFree_v2");
            MemcpyHostToDevice = (delegate* unmanaged<nint, void*, nuint, int>)Export("cuMemcpyHtoD_v2");
            MemcpyDeviceToHost = (delegate* unmanaged<void*, nint, nuint, int>)Export("cuMemcpyDtoH_v2");
            FuncGetParamInfo = (delegate* unmanaged<nint, nuint, nuint*, nuint*, int>)Export("cuFuncGetParamInfo");
            LastError = (delegate* unmanaged<byte*>)Export("emulation_last_error");
            Statistics = (delegate* unmanaged<byte*>)Export("emulation_statistics");
            SetOption = (delegate* unmanaged<byte*, long, int>)Export("emulation_set_option");
            MarkInput = (delegate* unmanaged<nint, nuint, int>)Export("emulation_mark_input");
            SetCompiler = (delegate* unmanaged<byte*, void>)Export("emulation_set_compiler");
            RegisterHost = (delegate* unmanaged<nint, nuint, int, int>)Export("emulation_register_host");
            UnregisterHost = (delegate* unmanaged<nint, int>)Export("emulation_unregister_host");
            MarkGap = (delegate* unmanaged<nint, nuint, int>)Export("emulation_mark_gap");
            StreamCreate = (delegate* unmanaged<nint*, uint, int>)Export("cuStreamCreate");
            GetCurrentContext = (delegate* unmanaged<nint*, int>)Export("cuCtxGetCurrent");
        }

        public CudaDriver Driver { get; }
        public Nvrtc Nvrtc { get; }
        public nint[] Contexts { get; }
        public IReadOnlyList<(string Name, string Text)> Headers { get; } =
            [.. Directory.EnumerateFiles(Path.Combine(Repository.Root, "native", "cuda"), "*.cuh").Select(f => (Path.GetFileName(f), File.ReadAllText(f)))];

        public readonly delegate* unmanaged<nint*, nuint, int> MemAlloc;
        public readonly delegate* unmanaged<nint, int> MemFree;
        public readonly delegate* unmanaged<nint, void*, nuint, int> MemcpyHostToDevice;
        public readonly delegate* unmanaged<void*, nint, nuint, int> MemcpyDeviceToHost;
        public readonly delegate* unmanaged<nint, nuint, nuint*, nuint*, int> FuncGetParamInfo;
        public readonly delegate* unmanaged<byte*> LastError;
        public readonly delegate* unmanaged<byte*> Statistics;
        public readonly delegate* unmanaged<byte*, long, int> SetOption;
        public readonly delegate* unmanaged<nint, nuint, int> MarkInput;
        public readonly delegate* unmanaged<nint, nuint, int> MarkGap;
        public readonly delegate* unmanaged<byte*, void> SetCompiler;
        public readonly delegate* unmanaged<nint, nuint, int, int> RegisterHost;
        public readonly delegate* unmanaged<nint, int> UnregisterHost;
        public readonly delegate* unmanaged<nint*, uint, int> StreamCreate;
        public readonly delegate* unmanaged<nint*, int> GetCurrentContext;
    }
}
