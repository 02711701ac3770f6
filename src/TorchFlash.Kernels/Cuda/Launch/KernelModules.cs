using System.Collections.Concurrent;
using System.Runtime.InteropServices;

namespace TorchFlash.Kernels.Cuda;

/// <summary>A kernel in a device's context, ready to launch.</summary>
internal sealed record LoadedKernel(KernelVariant Variant, nint Function, KernelShape Shape);

/// <summary>What a kernel's module says about how it is launched: KERNEL_SHAPE in device.cuh, an int[16].</summary>
/// <param name="Threads">Threads of a block.</param>
/// <param name="SharedBytes">Dynamic shared memory of a block.</param>
/// <param name="UnitLength">Queries or keys of a unit of work.</param>
/// <param name="UnitKeys">Keys of a unit of work, of kernels that divide queries and keys.</param>
/// <param name="IsPersistent">Whether a block does more than one unit of work, so that there need only be as many as run at once.</param>
/// <param name="BlocksPerMultiprocessor">How many run at once.</param>
/// <param name="BoxQueries">Queries of a box of the tensor maps over them.</param>
/// <param name="BoxKeys">Keys of a box of the tensor maps over them.</param>
/// <param name="BoxColumns">Columns of a box.</param>
internal readonly record struct KernelShape(
    int Threads, int SharedBytes, int UnitLength, int UnitKeys, bool IsPersistent, int BlocksPerMultiprocessor, int BoxQueries, int BoxKeys, int BoxColumns)
{
    /// <summary>Name and length of the variable.</summary>
    public const string Variable = "torchflash_shape";
    public const int Length = 16;

    /// <summary>That of a kernel: read from machine code where it is some, from the loaded module else (PTX, the emulated GPU).</summary>
    public static KernelShape Of(CudaDriver driver, nint module, ReadOnlySpan<byte> image)
    {
        if (Cubin.Is(image))
            return Of(image);
        Span<int> values = stackalloc int[Length];
        driver.ReadGlobal(module, Variable, values);
        return Of(values);
    }

    /// <summary>That of a kernel in machine code.</summary>
    public static KernelShape Of(ReadOnlySpan<byte> cubin) => Of(MemoryMarshal.Cast<byte, int>(Cubin.Symbol(cubin, Variable)));

    private static KernelShape Of(ReadOnlySpan<int> values) =>
        new(values[0], values[1], values[2], values[3], values[4] != 0, values[5], values[6], values[7], values[8]);

    /// <summary>Whether the kernel takes tensor maps after its parameters.</summary>
    public bool HasTensorMaps => BoxColumns > 0;

    /// <summary>Number of blocks for so many units of work.</summary>
    public long Blocks(long units, int multiprocessors) =>
        IsPersistent ? Math.Min(units, (long)multiprocessors * Math.Max(1, BlocksPerMultiprocessor)) : units;
}

/// <summary>
/// The kernels of one device, each loaded once for the life of the process. Threads that ask for different kernels compile at the same
/// time; those that ask for the same one wait for the first.
/// </summary>
internal sealed class KernelModules(CudaDevice device, KernelCompiler compiler)
{
    private readonly ConcurrentDictionary<KernelVariant, Lazy<LoadedKernel>> _kernels = new();

    /// <summary>What they are.</summary>
    public ICollection<KernelVariant> Variants => _kernels.Keys;

    /// <summary>The kernel, compiled and loaded where this has not happened yet.</summary>
    /// <exception cref="CudaException">It does not compile, or the driver does not load it. The next call tries again.</exception>
    public LoadedKernel this[KernelVariant variant]
    {
        get
        {
            Lazy<LoadedKernel> kernel = _kernels.GetOrAdd(variant, v => new Lazy<LoadedKernel>(() => Load(v)));
            try
            {
                return kernel.Value;
            }
            catch
            {
                _kernels.TryRemove(new KeyValuePair<KernelVariant, Lazy<LoadedKernel>>(variant, kernel));
                throw;
            }
        }
    }

    private LoadedKernel Load(KernelVariant variant)
    {
        byte[] image = compiler.Image(variant, out bool isCached);
        using CudaDevice.Scope scope = device.Enter();
        try
        {
            return Load(variant, image);
        }
        catch (CudaException) when (isCached)
        {
            return Load(variant, compiler.Recompile(variant)); // whole on disk, yet nothing for this driver
        }
    }

    private LoadedKernel Load(KernelVariant variant, byte[] image)
    {
        CudaDriver driver = device.Driver;
        nint module = driver.LoadModule(image);
        nint function = driver.Function(module, variant.EntryPoint);
        KernelShape shape = KernelShape.Of(driver, module, image);
        if (shape.SharedBytes > device.SharedLimit)
        {
            throw new InvalidOperationException(
                $"{variant} wants {shape.SharedBytes} bytes of shared memory for a block; {device.Name} has {device.SharedLimit}.");
        }
        driver.AllowSharedMemory(function, shape.SharedBytes);
        return new LoadedKernel(variant, function, shape);
    }
}
