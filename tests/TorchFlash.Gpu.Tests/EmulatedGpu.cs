using System.Runtime.CompilerServices;
using TorchFlash.Gpu.Device;
using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Files;

// flash.warn and the engine that tensors of the CPU get belong to the whole process.
[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace TorchFlash.Gpu.Tests;

/// <summary>The emulated GPU as the one that this process finds, by the variables that name the driver and NVRTC to every user.</summary>
internal static class EmulatedGpu
{
    public const int Ampere = 0, Hopper = 1;

    public static EngineSet Engines(int device) => EngineSet.TryCreate(device, out string reason) ?? throw new InvalidOperationException(reason);

    [ModuleInitializer]
    internal static void Choose()
    {
        Environment.SetEnvironmentVariable(LibrarySearch.DriverVariable, EmulatedLibrary.Path);
        Environment.SetEnvironmentVariable(LibrarySearch.NvrtcVariable, EmulatedLibrary.Path);
        // Compiled kernels stay from run to run, in a folder for this build of the emulation.
        string build = File.Exists(EmulatedLibrary.Path) ? File.GetLastWriteTimeUtc(EmulatedLibrary.Path).Ticks.ToString("x", System.Globalization.CultureInfo.InvariantCulture) : "none";
        Environment.SetEnvironmentVariable(DiskCache.FolderVariable, Path.Combine(Path.GetTempPath(), "torchflash-gpu-tests-" + build));
    }
}
