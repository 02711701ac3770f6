using TorchFlash.Kernels.Cpu;

namespace TorchFlash.Kernels.Tests.Support;

internal static class Engines
{
    /// <summary>The engine in every register width that this machine accelerates, and in scalar code.</summary>
    public static IReadOnlyList<CpuEngine> Widths { get; } =
        [.. VectorWidth.Supported.Select(bits => new CpuEngine(bits))];
}
