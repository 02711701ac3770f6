using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Testing;

internal static class KernelSourcesExtensions
{
    extension(KernelSources sources)
    {
        /// <summary>The kernels: the names of the *.cu files without their ending.</summary>
        public IEnumerable<string> Kernels =>
            sources.Files.Keys.Where(n => n.EndsWith(".cu", StringComparison.Ordinal)).Select(n => n[..^3]).Order(StringComparer.Ordinal);
    }
}
