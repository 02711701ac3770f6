using System.Collections.Concurrent;

namespace TorchFlash.Kernels.Cuda;

/// <summary>A kernel in a device's context, ready to launch.</summary>
internal sealed record LoadedKernel(KernelVariant Variant, nint Function, KernelShape Shape);

/// <summary>
/// The kernels of one device, each loaded once for the life of the process. Threads that ask for different kernels compile at the same
/// time; those that ask for the same one wait for the first.
/// </summary>
internal sealed class KernelModules(CudaDevice device, KernelCompiler compiler)
{
    private readonly ConcurrentDictionary<KernelVariant, Lazy<LoadedKernel>> _kernels = new();

    /// <summary>Number of kernels.</summary>
    public int Count => _kernels.Count;

    /// <summary>What they are.</summary>
    public IEnumerable<KernelVariant> Variants => _kernels.Keys;

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
        Span<int> values = stackalloc int[KernelShape.Length];
        driver.ReadGlobal(module, KernelShape.Variable, values);
        KernelShape shape = KernelShape.Of(values);
        if (shape.SharedBytes > device.SharedLimit)
        {
            throw new InvalidOperationException(
                $"{variant} wants {shape.SharedBytes} bytes of shared memory for a block; {device.Name} has {device.SharedLimit}.");
        }
        driver.AllowSharedMemory(function, shape.SharedBytes);
        return new LoadedKernel(variant, function, shape);
    }
}
