using System.Globalization;
using System.Text;
using TorchFlash.Kernels.Files;

namespace TorchFlash.Kernels.Cuda;

/// <summary>The driver, the compiler and the engines over them; one in a process, and more in tests.</summary>
internal sealed class CudaRuntime
{
    private static readonly Lazy<CudaRuntime> Shared = new(() => new CudaRuntime(new LibrarySearch(), DiskCache.FromEnvironment(), KernelSources.Embedded));

    // The oldest GPU of the kernels, and the oldest compilers: __grid_constant__ for all, PTX 8.1 for red.global.add.v4.f32 of sm_90.
    private const int OldestArchitecture = 80;
    private static readonly Version OldestCompiler = new(11, 7), OldestCompilerForHopper = new(12, 1);

    private readonly CudaLibraries _libraries;
    private readonly CudaDevice?[] _devices = [];
    private readonly string[] _refusals = [];
    private readonly CudaEngine?[] _engines = [];
    private readonly string? _whyOff;
    private readonly KernelTuning _tuning;

    /// <param name="search">Where the libraries are looked for.</param>
    /// <param name="cache">Where compiled kernels are kept.</param>
    /// <param name="sources">The kernels.</param>
    /// <param name="tuning">Changes to their choice.</param>
    public CudaRuntime(LibrarySearch search, DiskCache cache, KernelSources sources, KernelTuning? tuning = null)
    {
        _tuning = tuning ?? KernelTuning.None;
        _libraries = new CudaLibraries(search);
        Driver = _libraries.LoadDriver();
        if (Driver is null)
        {
            _whyOff = $"no CUDA driver that works ({string.Join("; ", _libraries.Attempts)}; {LibrarySearch.DriverVariable} can name one)";
            return;
        }
        if (Driver.DeviceCount == 0)
        {
            _whyOff = $"the CUDA driver {Driver.Path} sees no GPU";
            return;
        }
        (_devices, _refusals) = Devices(Driver);
        _engines = new CudaEngine?[_devices.Length];
        if (_devices.All(d => d is null))
            return;
        Version oldest = _devices.Max(d => d?.Architecture ?? 0) >= 90 ? OldestCompilerForHopper : OldestCompiler;
        if (_libraries.LoadNvrtc(oldest, Driver.Version) is not { } nvrtc)
        {
            _whyOff = $"no NVRTC, NVIDIA's run-time compiler, of version {oldest} or later ({string.Join("; ", _libraries.Attempts)}; {LibrarySearch.NvrtcVariable} can name one)";
            return;
        }
        Compiler = new KernelCompiler(sources, nvrtc, cache);
    }

    /// <summary>That of this process; finding and loading the libraries starts with the first use.</summary>
    public static CudaRuntime Instance => Shared.Value;

    /// <summary>Null where there is none.</summary>
    public CudaDriver? Driver { get; }

    /// <summary>Null where there is no driver or no NVRTC.</summary>
    public KernelCompiler? Compiler { get; }

    /// <summary>The engine of a device, or null and the reason.</summary>
    public CudaEngine? Engine(int device, out string reason)
    {
        reason = _whyOff
            ?? (device < 0 || device >= _devices.Length ? $"there is no CUDA device {device}, only {_devices.Length}"
                : _devices[device] is null ? _refusals[device] : "");
        if (reason.Length > 0)
            return null;
        lock (_engines)
            return _engines[device] ??= new CudaEngine(_devices[device]!, Compiler!, _tuning);
    }

    /// <summary>Lines for people: driver, compiler, cache, devices, what was compiled, or why there is no engine.</summary>
    public string Describe()
    {
        var text = new StringBuilder();
        if (Driver is not null)
            Line("driver", $"CUDA {Driver.Version}, {Driver.Path}{(Driver.IsEmulated ? " (emulated GPU)" : "")}");
        if (_whyOff is not null)
        {
            Line("off", _whyOff);
            return text.ToString();
        }
        for (int i = 0; i < _devices.Length; i++)
        {
            Line("device", _devices[i] is { } device ? $"{i}: {Describe(device)}" : $"{i}: off, {_refusals[i]}");
            if (_devices[i] is { Architecture: 90 })
                Line("", $"{i}: 16-bit types with a score program, dropout or sinks take the mma.sync kernels there, not those with wgmma");
            foreach (string note in _engines[i]?.LayoutNotes ?? [])
                Line("layout", $"{i}: {note}");
        }
        if (Compiler is not null)
        {
            Line("nvrtc", $"CUDA {Compiler.Nvrtc.Version}, {Compiler.Nvrtc.Path}");
            Line("cache", Compiler.Cache.ToString());
            IReadOnlyList<CompiledKernel> compiled = Compiler.Compiled;
            Line("kernels", string.Create(CultureInfo.InvariantCulture,
                $"{compiled.Count} compiled in {Compiler.Time.TotalSeconds:F1} s, {Compiler.CacheHits} out of the cache"));
            foreach ((KernelVariant variant, string log) in Compiler.Warnings)
                Line("warning", $"{variant}: {log}");
        }
        return text.ToString();

        void Line(string name, string value) => text.AppendLine($"{name,-8}  {value}");
    }

    /// <summary>A device in one line.</summary>
    public static string Describe(CudaDevice device) => string.Create(CultureInfo.InvariantCulture,
        $"{device.Name}, sm_{device.Architecture}, {device.TotalMemory / (double)(1L << 30):F1} GiB, {device.Multiprocessors} multiprocessors, {device.SharedLimit / 1024} KiB shared memory for a block");

    private static (CudaDevice?[] Devices, string[] Refusals) Devices(CudaDriver driver)
    {
        var devices = new CudaDevice?[driver.DeviceCount];
        string[] refusals = new string[driver.DeviceCount];
        for (int i = 0; i < devices.Length; i++)
        {
            try
            {
                var device = new CudaDevice(driver, i);
                if (device.Architecture >= OldestArchitecture)
                    devices[i] = device;
                refusals[i] = $"{device.Name} is of compute capability {device.Capability}; the kernels need 8.0 (Ampere) or later";
            }
            catch (CudaException e)
            {
                refusals[i] = e.Message;
            }
        }
        return (devices, refusals);
    }
}
