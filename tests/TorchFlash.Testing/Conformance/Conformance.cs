using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Files;

namespace TorchFlash.Testing;

/// <summary>What the conformance kernel wrote about one primitive.</summary>
/// <param name="Name">Its name in enum Section of conformance.cu.</param>
/// <param name="Words">Word i of thread t is at 128 i + t; a few sections are memory as it is.</param>
/// <param name="Expected">Hash of the words that the emulation writes.</param>
internal sealed record ConformanceSection(string Name, uint[] Words, ulong Expected)
{
    /// <summary>FNV-1a of the words, byte by byte.</summary>
    public ulong Hash { get; } = HashOf(Words);

    /// <summary>Whether the primitive does here what it does in the emulation.</summary>
    public bool Conforms => Hash == Expected;

    private static ulong HashOf(ReadOnlySpan<uint> words)
    {
        ulong hash = 14695981039346656037;
        foreach (uint word in words)
        {
            for (int shift = 0; shift < 32; shift += 8)
                hash = (hash ^ (word >> shift & 0xff)) * 1099511628211;
        }
        return hash;
    }
}

/// <summary>
/// Runs conformance.cu: every primitive the kernels are made of, on exact integers. The emulation, on which the kernels are tested, and a GPU
/// must write the same words; which section differs tells which primitive one of them gets wrong. To be run on hardware before anything else.
/// </summary>
internal static unsafe partial class Conformance
{
    private const string Kernel = "conformance", Hopper = "sm_90a";
    private const int Words = 1 << 18, InputLength = 65536;
    private const int Swizzle128 = 3; // CUtensorMapSwizzle: 64 is one less, 32 two

    /// <summary>The source, beside those of the kernels.</summary>
    public static KernelSources Sources { get; } = KernelSources.Embedded.With(Kernel + ".cu", ReadSource());

    /// <summary>The sections in the kernel's order, of all GPUs or of Hopper: the names in enum Section of the source.</summary>
    public static IReadOnlyList<string> Sections(bool hopper)
    {
        string[] names = [.. SectionEnum().Match(Sources[Kernel + ".cu"]).Groups["names"].Value
            .Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Select(n => n.Split('=')[0].Trim())];
        int core = Array.IndexOf(names, "CORE_SECTIONS");
        return hopper ? [.. names[..core], .. names[(core + 1)..^1]] : names[..core];
    }

    /// <summary>The kernel for a GPU.</summary>
    public static KernelVariant Variant(string target, int sharedLimit) =>
        KernelVariant.Create(Kernel, target, [("K_HOPPER", target == Hopper ? 1 : 0), ("K_SHARED_LIMIT", sharedLimit)]);

    /// <summary>Compiles and runs it.</summary>
    /// <param name="device">Where.</param>
    /// <param name="nvrtc">The compiler.</param>
    /// <param name="complaints">See <see cref="CompilerLog.Complaints"/>.</param>
    /// <exception cref="CudaException">It does not compile, or the launch fails.</exception>
    public static IReadOnlyList<ConformanceSection> Run(CudaDevice device, Nvrtc nvrtc, out IReadOnlyList<string> complaints)
    {
        string target = device.Target(nvrtc).Name;
        bool hopper = target == Hopper;
        var compiler = new KernelCompiler(Sources, nvrtc, new DiskCache(null));
        byte[] image = compiler.Image(Variant(target, device.SharedLimit), out _);
        complaints = [.. compiler.Warnings.SelectMany(w => CompilerLog.Complaints(w.Log))];
        CudaDriver driver = device.Driver;
        using CudaDevice.Scope scope = device.Enter();
        nint module = driver.LoadModule(image);
        nint function = driver.Function(module, "torchflash_" + Kernel);
        KernelShape shape = KernelShape.Of(driver, module, image);
        var memory = new GpuDriver(driver, device.Ordinal);
        nint input = memory.Allocate(InputLength * sizeof(ushort)), output = memory.Allocate(Words * sizeof(uint));
        uint[] words = new uint[Words];
        try
        {
            memory.Write(input, MemoryMarshal.AsBytes<ushort>([.. Enumerable.Range(0, InputLength).Select(i => (ushort)(i * 40503u))]));
            memory.Write(output, MemoryMarshal.AsBytes<uint>(words));
            Launch(driver, function, shape, input, output, hopper);
            memory.Read(output, MemoryMarshal.AsBytes(words.AsSpan()));
        }
        finally
        {
            memory.Free(input);
            memory.Free(output);
        }
        return [.. Sections(hopper).Select((name, i) =>
            new ConformanceSection(name, words.AsSpan((int)words[2 * i], (int)words[2 * i + 1]).ToArray(), Expected.GetValueOrDefault(name)))];
    }

    private static void Launch(CudaDriver driver, nint function, KernelShape shape, nint input, nint output, bool hopper)
    {
        const int maps = 3;
        driver.AllowSharedMemory(function, shape.SharedBytes);
        nint* parameters = stackalloc nint[2] { input, output };
        void** arguments = stackalloc void*[1 + maps];
        arguments[0] = parameters;
        var memory = (TensorMap*)NativeMemory.AlignedAlloc(maps * TensorMap.Bytes, TensorMap.Alignment);
        try
        {
            for (int i = 0; i < maps; i++)
                arguments[1 + i] = memory + i;
            if (hopper)
                Encode(driver, memory, input);
            driver.Launch(function, 1, shape.Threads, shape.SharedBytes, 0, arguments, Kernel);
        }
        finally
        {
            NativeMemory.AlignedFree(memory); // a launch copies its parameters
        }
    }

    // The tensor and the boxes that conformance.cu tells of.
    private static void Encode(CudaDriver driver, TensorMap* maps, nint input)
    {
        uint[][] boxes = [[64, 16, 1, 1], [32, 8, 2, 1], [16, 8, 1, 2]];
        ulong[] sizes = [72, 40, 3, 2], strides = [88 * 2, 3608 * 2, 10832 * 2];
        for (int i = 0; i < boxes.Length; i++)
            Encode(driver, maps + i, input, sizes, strides, boxes[i], Swizzle128 - i);
    }

    private static void Encode(CudaDriver driver, TensorMap* map, nint address, ulong[] sizes, ulong[] strides, uint[] box, int swizzle)
    {
        const int float16 = 6;
        fixed (ulong* ofSizes = sizes, ofStrides = strides)
        fixed (uint* ofBox = box)
            driver.EncodeTiled(map, float16, address, ofSizes, ofStrides, ofBox, swizzle);
    }

    private static string ReadSource()
    {
        using var reader = new StreamReader(typeof(Conformance).Assembly.GetManifestResourceStream(Kernel + ".cu")!);
        return reader.ReadToEnd();
    }

    [GeneratedRegex(@"enum Section \{(?<names>[^}]*)\}")]
    private static partial Regex SectionEnum();
}
