using System.Runtime.InteropServices;
using System.Text;

namespace TorchFlash.Kernels.Cuda;

/// <summary>NVIDIA's run-time compiler: CUDA C++ source in, machine code of a GPU out. Safe for use from several threads.</summary>
internal sealed unsafe class Nvrtc
{
    private readonly delegate* unmanaged<int*, int*, int> _version;
    private readonly delegate* unmanaged<int, byte*> _getErrorString;
    private readonly delegate* unmanaged<nint*, byte*, byte*, int, byte**, byte**, int> _createProgram;
    private readonly delegate* unmanaged<nint*, int> _destroyProgram;
    private readonly delegate* unmanaged<nint, int, byte**, int> _compileProgram;
    private readonly delegate* unmanaged<nint, nuint*, int> _getProgramLogSize;
    private readonly delegate* unmanaged<nint, byte*, int> _getProgramLog;
    private readonly delegate* unmanaged<nint, nuint*, int> _getCubinSize;
    private readonly delegate* unmanaged<nint, byte*, int> _getCubin;
    private readonly delegate* unmanaged<nint, nuint*, int> _getPtxSize;
    private readonly delegate* unmanaged<nint, byte*, int> _getPtx;

    /// <param name="library">Handle of a loaded library.</param>
    /// <param name="path">Where it came from.</param>
    /// <exception cref="EntryPointNotFoundException">The library lacks a function that is needed.</exception>
    /// <exception cref="CudaException">The library does not tell its version.</exception>
    public Nvrtc(nint library, string path)
    {
        Path = path;
        nint Export(string name) => NativeLibrary.GetExport(library, name);
        _version = (delegate* unmanaged<int*, int*, int>)Export("nvrtcVersion");
        _getErrorString = (delegate* unmanaged<int, byte*>)Export("nvrtcGetErrorString");
        _createProgram = (delegate* unmanaged<nint*, byte*, byte*, int, byte**, byte**, int>)Export("nvrtcCreateProgram");
        _destroyProgram = (delegate* unmanaged<nint*, int>)Export("nvrtcDestroyProgram");
        _compileProgram = (delegate* unmanaged<nint, int, byte**, int>)Export("nvrtcCompileProgram");
        _getProgramLogSize = (delegate* unmanaged<nint, nuint*, int>)Export("nvrtcGetProgramLogSize");
        _getProgramLog = (delegate* unmanaged<nint, byte*, int>)Export("nvrtcGetProgramLog");
        _getCubinSize = (delegate* unmanaged<nint, nuint*, int>)Export("nvrtcGetCUBINSize");
        _getCubin = (delegate* unmanaged<nint, byte*, int>)Export("nvrtcGetCUBIN");
        _getPtxSize = (delegate* unmanaged<nint, nuint*, int>)Export("nvrtcGetPTXSize");
        _getPtx = (delegate* unmanaged<nint, byte*, int>)Export("nvrtcGetPTX");
        int major, minor;
        Check(_version(&major, &minor), "nvrtcVersion");
        Version = new Version(major, minor);
        Architectures = ReadArchitectures(library);
    }

    /// <summary>Where the library came from.</summary>
    public string Path { get; }

    /// <summary>As in CUDA 12.4.</summary>
    public Version Version { get; }

    /// <summary>The architectures it compiles for, 80 for sm_80, in ascending order; empty where it does not say.</summary>
    public IReadOnlyList<int> Architectures { get; }

    /// <summary>Compiles one program.</summary>
    /// <param name="name">Name of the source, for messages.</param>
    /// <param name="source">The source.</param>
    /// <param name="headers">What the source may include: names and contents.</param>
    /// <param name="options">Options of the compiler.</param>
    /// <param name="toPtx">PTX instead of machine code.</param>
    /// <param name="description">What is compiled, for the exception.</param>
    /// <exception cref="CudaCompilationException">It does not compile.</exception>
    public (byte[] Image, string Log) Compile(
        string name, string source, IReadOnlyList<(string Name, string Text)> headers, IReadOnlyList<string> options, bool toPtx, string description)
    {
        using var texts = new Utf8Texts();
        nint program;
        Check(_createProgram(&program, texts.Add(source), texts.Add(name), headers.Count,
            texts.Add(headers.Select(h => h.Text)), texts.Add(headers.Select(h => h.Name))), "nvrtcCreateProgram");
        try
        {
            int code = _compileProgram(program, options.Count, texts.Add(options));
            string log = Log(program);
            if (code != 0)
                throw new CudaCompilationException(description, code, ErrorName(code), log);
            return (toPtx ? Read(program, _getPtxSize, _getPtx, "nvrtcGetPTX") : Read(program, _getCubinSize, _getCubin, "nvrtcGetCUBIN"), log);
        }
        finally
        {
            _ = _destroyProgram(&program);
        }
    }

    private static int[] ReadArchitectures(nint library)
    {
        if (!NativeLibrary.TryGetExport(library, "nvrtcGetNumSupportedArchs", out nint countAddress)
            || !NativeLibrary.TryGetExport(library, "nvrtcGetSupportedArchs", out nint getAddress))
            return []; // before CUDA 11.2
        var count = (delegate* unmanaged<int*, int>)countAddress;
        var get = (delegate* unmanaged<int*, int>)getAddress;
        int n;
        if (count(&n) != 0 || n <= 0)
            return [];
        int[] result = new int[n];
        fixed (int* to = result)
            if (get(to) != 0)
                return [];
        Array.Sort(result);
        return result;
    }

    private string Log(nint program)
    {
        nuint size;
        if (_getProgramLogSize(program, &size) != 0 || size <= 1)
            return "";
        byte[] text = new byte[size];
        fixed (byte* to = text)
            if (_getProgramLog(program, to) != 0)
                return "";
        return Encoding.UTF8.GetString(text).TrimEnd('\0', '\n', ' ');
    }

    private byte[] Read(nint program, delegate* unmanaged<nint, nuint*, int> size, delegate* unmanaged<nint, byte*, int> get, string function)
    {
        nuint bytes;
        Check(size(program, &bytes), function + "Size");
        byte[] image = new byte[bytes];
        fixed (byte* to = image)
            Check(get(program, to), function);
        return image;
    }

    private string ErrorName(int code) => Marshal.PtrToStringUTF8((nint)_getErrorString(code)) ?? "unknown error";

    private void Check(int code, string function)
    {
        if (code != 0)
            throw new CudaException(function, code, ErrorName(code), $"{function} returned {code} ({ErrorName(code)}).");
    }

    /// <summary>Zero-terminated texts for the length of a call.</summary>
    private sealed class Utf8Texts : IDisposable
    {
        private readonly List<nint> _allocations = [];

        public byte* Add(string text)
        {
            nint copy = Marshal.StringToCoTaskMemUTF8(text);
            _allocations.Add(copy);
            return (byte*)copy;
        }

        public byte** Add(IEnumerable<string> texts)
        {
            string[] all = [.. texts];
            byte** array = (byte**)Marshal.AllocCoTaskMem(Math.Max(1, all.Length) * sizeof(byte*));
            _allocations.Add((nint)array);
            for (int i = 0; i < all.Length; i++)
                array[i] = Add(all[i]);
            return array;
        }

        public void Dispose()
        {
            foreach (nint allocation in _allocations)
                Marshal.FreeCoTaskMem(allocation);
        }
    }
}
