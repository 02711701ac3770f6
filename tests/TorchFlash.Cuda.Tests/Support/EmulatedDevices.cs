using System.Collections.Concurrent;
using System.Security.Cryptography;
using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Files;

namespace TorchFlash.Cuda.Tests;

/// <summary>
/// The engine on the emulated GPU (<see cref="EmulatedGpu"/>), which runs the kernels' own source on the CPU and complains of races, stray
/// accesses, missing waits and the like: the launch fails, and the exception says what was found and where.
/// </summary>
internal static class EmulatedDevices
{
    public const int Ampere = 0, Hopper = 1, SmallAmpere = 2;

    private static readonly ConcurrentDictionary<KernelSources, ConcurrentDictionary<KernelTuning, CudaRuntime>> Runtimes = new();
    private static readonly Lazy<CudaDevice[]> Devices = new(() => [.. Enumerable.Range(0, 3).Select(i => new CudaDevice(Runtime().Driver ?? throw new InvalidOperationException(Runtime().Describe()), i))]);
    private static readonly Lazy<IOperandMemory[]> Memories = new(() => [.. Enumerable.Range(0, 3).Select(i => new DeviceMemory(i))]);

    /// <summary>A search that finds the emulated GPU and nothing else.</summary>
    public static LibrarySearch Search { get; } =
        new() { Variable = name => name is LibrarySearch.DriverVariable or LibrarySearch.NvrtcVariable ? EmulatedLibrary.Path : null };

    /// <summary>Compiled kernels stay from run to run, in a folder for this build of the emulation.</summary>
    public static DiskCache Cache { get; } = OpenCache();

    /// <summary>The engine of an emulated device, for changed sources or with changed choices where wanted.</summary>
    public static CudaEngine Engine(int device, KernelTuning? tuning = null, KernelSources? sources = null) =>
        Runtime(tuning, sources).Engine(device, out string reason) ?? throw new InvalidOperationException(reason);

    public static CudaRuntime Runtime(KernelTuning? tuning = null, KernelSources? sources = null) =>
        Runtimes.GetOrAdd(sources ?? KernelSources.Embedded, _ => new()).GetOrAdd(tuning ?? KernelTuning.None,
            t => new CudaRuntime(Search, Cache, sources ?? KernelSources.Embedded, t));

    /// <summary>Makes a device's context current on this thread.</summary>
    public static CudaDevice.Scope Enter(int device) => Devices.Value[device].Enter();

    /// <summary>The memory of a device.</summary>
    public static IOperandMemory Memory(int device) => Memories.Value[device];

    public static nint CreateStream(int device)
    {
        using (Enter(device))
            return EmulatedGpu.CreateStream();
    }

    /// <summary>The emulation tells of accesses outside of an allocation, to gaps, and to what nobody has written.</summary>
    private sealed class DeviceMemory(int device) : IOperandMemory
    {
        private readonly GpuDriver _gpu = new(Devices.Value[device].Driver, device);

        public int GuardBytes => 0;

        public bool TellsOfUnwritten => true;

        public nint Allocate(long bytes)
        {
            using (Enter(device))
                return _gpu.Allocate(bytes);
        }

        public void Free(nint address)
        {
            using (Enter(device))
                _gpu.Free(address);
        }

        public void Write(nint address, ReadOnlySpan<byte> bytes)
        {
            using (Enter(device))
                _gpu.Write(address, bytes);
        }

        public void Read(nint address, Span<byte> bytes)
        {
            using (Enter(device))
                _gpu.Read(address, bytes);
        }

        public void MarkGap(nint address, long bytes) => EmulatedGpu.MarkGap(address, bytes);

        public void MarkInput(nint address, long bytes) => EmulatedGpu.MarkInput(address, bytes);
    }

    private static DiskCache OpenCache()
    {
        if (EmulatedLibrary.Missing is not null)
            return new DiskCache(null);
        string parent = Path.Combine(Repository.Root, "artifacts", "emulation-cache");
        string folder = Path.Combine(parent, Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(EmulatedLibrary.Path)))[..16]);
        if (!Directory.Exists(folder) && Directory.Exists(parent))
        {
            // Those of builds that are no more; not the ones that another run may be using.
            foreach (string old in Directory.EnumerateDirectories(parent).Where(f => DateTime.UtcNow - Directory.GetLastWriteTimeUtc(f) > TimeSpan.FromHours(12)))
                Directory.Delete(old, recursive: true);
        }
        return new DiskCache(folder, limit: 2L << 30);
    }
}
