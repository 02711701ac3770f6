using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>NVIDIA's compiler, which needs no GPU, where it can be found.</summary>
internal static class RealNvrtc
{
    /// <summary>Null where there is none; then everybody is told.</summary>
    public static Nvrtc? Instance { get; } = Find();

    /// <summary>Why there is none; null where there is.</summary>
    public static string? Missing { get; private set; }

    private static Nvrtc? Find()
    {
        var libraries = new CudaLibraries(new LibrarySearch());
        Nvrtc? nvrtc = libraries.LoadNvrtc(new Version(12, 1), driver: null);
        if (nvrtc is not null)
            return nvrtc;
        Missing = $"NVIDIA'S COMPILER IS NOT HERE, SO NO KERNEL IS COMPILED FOR A REAL GPU ({string.Join("; ", libraries.Attempts)}). "
            + $"'./build.sh nvrtc' fetches it, {LibrarySearch.NvrtcVariable} names it.";
        Console.Error.WriteLine(Missing);
        return null;
    }
}

/// <summary>A test that needs NVIDIA's compiler: skipped, loudly, where it is not to be found.</summary>
internal sealed class NvrtcFactAttribute : FactAttribute
{
    public NvrtcFactAttribute() => Skip = RealNvrtc.Instance is null ? RealNvrtc.Missing : null;
}

/// <inheritdoc cref="NvrtcFactAttribute"/>
internal sealed class NvrtcTheoryAttribute : TheoryAttribute
{
    public NvrtcTheoryAttribute() => Skip = RealNvrtc.Instance is null ? RealNvrtc.Missing : null;
}
