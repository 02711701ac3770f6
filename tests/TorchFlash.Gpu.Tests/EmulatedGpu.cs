using System.Runtime.CompilerServices;
using TorchFlash.Gpu.Device;
using TorchFlash.Kernels.Cuda;

// flash.warn and the engine that tensors of the CPU get belong to the whole process.
[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace TorchFlash.Gpu.Tests;

/// <summary>The emulated GPU as the one that this process finds, by the variables that name the driver and NVRTC to every user.</summary>
internal static class EmulatedGpu
{
    public const int Ampere = 0, Hopper = 1;

    public static string LibraryPath => Path.Combine(AppContext.BaseDirectory, "libtorchflash-emulation.so");

    /// <summary>Why there is none, for a skipped test; null where there is one.</summary>
    public static string? Missing => File.Exists(LibraryPath) ? null : "The emulated GPU was not built here: it needs Linux and g++.";

    public static EngineSet Engines(int device) => EngineSet.TryCreate(device, out string reason) ?? throw new InvalidOperationException(reason);

    [ModuleInitializer]
    internal static void Choose()
    {
        Environment.SetEnvironmentVariable(LibrarySearch.DriverVariable, LibraryPath);
        Environment.SetEnvironmentVariable(LibrarySearch.NvrtcVariable, LibraryPath);
        // Compiled kernels stay from run to run, in a folder for this build of the emulation.
        string build = File.Exists(LibraryPath) ? File.GetLastWriteTimeUtc(LibraryPath).Ticks.ToString("x", System.Globalization.CultureInfo.InvariantCulture) : "none";
        Environment.SetEnvironmentVariable(CubinCache.FolderVariable, Path.Combine(Path.GetTempPath(), "torchflash-gpu-tests-" + build));
    }
}

/// <summary>A test that needs the emulated GPU.</summary>
internal sealed class EmulatedFactAttribute : FactAttribute
{
    public EmulatedFactAttribute() => Skip = EmulatedGpu.Missing;
}

/// <summary>Tests that need the emulated GPU.</summary>
internal sealed class EmulatedTheoryAttribute : TheoryAttribute
{
    public EmulatedTheoryAttribute() => Skip = EmulatedGpu.Missing;
}
