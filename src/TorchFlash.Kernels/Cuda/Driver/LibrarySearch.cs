using System.Diagnostics;
using System.Text.RegularExpressions;

namespace TorchFlash.Kernels.Cuda;

/// <summary>A library to try: a path, or a bare name for the loader to find, and why it is one.</summary>
internal readonly record struct LibraryCandidate(string Path, string Origin);

/// <summary>
/// Where the driver and NVRTC may be, the likeliest place first. Nothing is loaded here.
/// <para>
/// NVRTC: what is in the process already; beside libtorch, whose Linux packages give it a file name with a hash in it
/// (libnvrtc-b51b459d.so.12); in the application's folder and its runtimes/*/native; in LIBTORCH_DIR; in NVIDIA's packages beside a PyTorch
/// wheel; wherever the loader looks; in the toolkit of CUDA_HOME, CUDA_PATH or the usual folders.
/// </para>
/// </summary>
internal sealed partial class LibrarySearch
{
    public const string DriverVariable = "TORCHFLASH_CUDA_DRIVER", NvrtcVariable = "TORCHFLASH_NVRTC";

    /// <summary>Reads an environment variable.</summary>
    public Func<string, string?> Variable { get; init; } = Environment.GetEnvironmentVariable;

    public bool IsWindows { get; init; } = OperatingSystem.IsWindows();

    public string ApplicationFolder { get; init; } = AppContext.BaseDirectory;

    /// <summary>Paths of the libraries in this process.</summary>
    public Func<IReadOnlyList<string>> LoadedLibraries { get; init; } = ModulesOfProcess;

    /// <summary>Folders in which toolkits are installed, each with a bin or lib64 folder.</summary>
    public IReadOnlyList<string> ToolkitFolders { get; init; } = UsualToolkitFolders();

    /// <summary>Candidates for the driver's library; only the named one where there is a name.</summary>
    public IEnumerable<LibraryCandidate> Driver()
    {
        if (Variable(DriverVariable) is { Length: > 0 } named)
            return [new(named, DriverVariable)];
        return IsWindows
            ? [new("nvcuda.dll", "loader")]
            : [new("libcuda.so.1", "loader"), new("/usr/lib/wsl/lib/libcuda.so.1", "WSL"), new("libcuda.so", "loader")];
    }

    /// <summary>Candidates for NVRTC; only the named one where there is a name. Every file is there; bare names are for the loader.</summary>
    public IEnumerable<LibraryCandidate> Nvrtc()
    {
        if (Variable(NvrtcVariable) is { Length: > 0 } named)
            return [new(Directory.Exists(named) ? FilesOf(named).FirstOrDefault(named) : named, NvrtcVariable)];
        return NvrtcUnnamed().DistinctBy(c => c.Path, IsWindows ? StringComparer.OrdinalIgnoreCase : StringComparer.Ordinal);
    }

    /// <summary>
    /// The file with the built-in headers that belongs to this NVRTC and lies beside it, or null. NVRTC opens it when it first compiles, by a
    /// name without folder (libnvrtc-builtins.so.12.1, nvrtc-builtins64_121.dll), and finds it only where the loader looks, in its own
    /// RUNPATH, or when it is in the process already: then the name is matched with the SONAME (Linux) or the file name (Windows) of the
    /// loaded library. Linux packages of libtorch rename the file (libnvrtc-builtins-6c5639ce.so.12.1) but not its SONAME. Hence: load it by
    /// its path first.
    /// </summary>
    public string? BuiltinsOf(string nvrtcPath, Version version)
    {
        if (System.IO.Path.GetDirectoryName(nvrtcPath) is not { Length: > 0 } folder)
            return null;
        string digits = IsWindows ? $"{version.Major}{version.Minor}" : $"{version.Major}.{version.Minor}";
        return Enumerate(folder).Where(f => BuiltinsName().Match(System.IO.Path.GetFileName(f)) is { Success: true } match
                && (match.Groups["windows"].Value == digits || match.Groups["linux"].Value == digits
                    || match.Groups["linux"].Value.StartsWith(digits + ".", StringComparison.Ordinal)))
            .Order(StringComparer.Ordinal).FirstOrDefault();
    }

    private IEnumerable<LibraryCandidate> NvrtcUnnamed()
    {
        IReadOnlyList<string> loaded = LoadedLibraries();
        foreach (string path in loaded.Where(p => NvrtcName().IsMatch(System.IO.Path.GetFileName(p))))
            yield return new(path, "already in the process");
        foreach (string folder in loaded.Where(p => LibTorchName().IsMatch(System.IO.Path.GetFileName(p))).Select(p => System.IO.Path.GetDirectoryName(p)!).Distinct())
            foreach (string near in NearLibTorch(folder))
                foreach (string file in FilesOf(near))
                    yield return new(file, "beside libtorch");
        foreach (string folder in ApplicationFolders())
            foreach (string file in FilesOf(folder))
                yield return new(file, "application");
        if (Variable("LIBTORCH_DIR") is { Length: > 0 } libtorch)
            foreach (string near in NearLibTorch(System.IO.Path.Combine(libtorch, "lib")))
                foreach (string file in FilesOf(near))
                    yield return new(file, "LIBTORCH_DIR");
        foreach (string name in IsWindows
            ? (string[])["nvrtc64_120_0.dll", "nvrtc64_130_0.dll", "nvrtc64_112_0.dll"]
            : ["libnvrtc.so.12", "libnvrtc.so.13", "libnvrtc.so.11.2", "libnvrtc.so"])
            yield return new(name, "loader");
        foreach (string variable in (string[])["CUDA_HOME", "CUDA_PATH"])
            if (Variable(variable) is { Length: > 0 } toolkit)
                foreach (string file in LibraryFoldersOf(toolkit).SelectMany(FilesOf))
                    yield return new(file, variable);
        foreach (string file in ToolkitFolders.SelectMany(LibraryFoldersOf).SelectMany(FilesOf))
            yield return new(file, "toolkit");
    }

    /// <summary>libtorch's own folder, and where pip puts NVIDIA's libraries for a PyTorch wheel: .../site-packages/torch/lib -> .../nvidia/.</summary>
    private static IEnumerable<string> NearLibTorch(string folder)
    {
        string packages = System.IO.Path.GetFullPath(System.IO.Path.Combine(folder, "..", "..", "nvidia"));
        foreach (string near in (string[])["cuda_nvrtc", "cu13", "cu12"])
        {
            yield return System.IO.Path.Combine(packages, near, "lib");
            yield return System.IO.Path.Combine(packages, near, "bin");
            yield return System.IO.Path.Combine(packages, near, "bin", "x86_64");
        }
        yield return folder; // last: a wheel with NVIDIA's packages has no NVRTC of its own
    }

    private IEnumerable<string> ApplicationFolders()
    {
        yield return ApplicationFolder;
        string runtimes = System.IO.Path.Combine(ApplicationFolder, "runtimes");
        if (Directory.Exists(runtimes))
            foreach (string folder in Directory.EnumerateDirectories(runtimes).Order(StringComparer.Ordinal))
                yield return System.IO.Path.Combine(folder, "native");
    }

    private static IEnumerable<string> LibraryFoldersOf(string toolkit) =>
        new[] { "lib64", "lib", "bin", System.IO.Path.Combine("bin", "x64") }.Select(f => System.IO.Path.Combine(toolkit, f));

    private static string[] UsualToolkitFolders()
    {
        const string unix = "/usr/local";
        string windows = System.IO.Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.ProgramFiles), "NVIDIA GPU Computing Toolkit", "CUDA");
        (string parent, string pattern) = OperatingSystem.IsWindows() ? (windows, "v*") : (unix, "cuda*");
        string[] versions = Directory.Exists(parent) ? [.. Directory.EnumerateDirectories(parent, pattern).OrderByDescending(VersionIn)] : [];
        return OperatingSystem.IsWindows() ? versions : [.. versions, "/opt/cuda"];
    }

    /// <summary>NVRTC libraries in a folder, the newest first.</summary>
    private IEnumerable<string> FilesOf(string folder) =>
        Enumerate(folder).Where(f => NvrtcName().IsMatch(System.IO.Path.GetFileName(f)))
            .OrderByDescending(VersionIn).ThenBy(f => f.Length).ThenBy(f => f, StringComparer.Ordinal);

    private IEnumerable<string> Enumerate(string folder)
    {
        try
        {
            return Directory.Exists(folder) ? Directory.GetFiles(folder, IsWindows ? "nvrtc*.dll" : "libnvrtc*.so*") : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return []; // a folder that may not be read has nothing for us
        }
    }

    /// <summary>The number in a file's name, apart from a hash: libnvrtc-b51b459d.so.12 -> 12, cuda-12.4 -> 12.4, nvrtc64_120_0.dll -> 120.</summary>
    private static Version VersionIn(string path)
    {
        string name = System.IO.Path.GetFileName(path);
        Match match = (name.Contains(".so", StringComparison.Ordinal) ? SharedObjectVersion() : FirstNumber()).Match(name);
        string text = match.Groups["number"].Value;
        return Version.TryParse(text.Contains('.', StringComparison.Ordinal) ? text : text + ".0", out Version? version) ? version : new Version(0, 0);
    }

    private static IReadOnlyList<string> ModulesOfProcess()
    {
        try
        {
            using var process = Process.GetCurrentProcess();
            return [.. process.Modules.Cast<ProcessModule>().Select(m => m.FileName).Where(f => f.Length > 0)];
        }
        catch (Exception e) when (e is InvalidOperationException or System.ComponentModel.Win32Exception or PlatformNotSupportedException)
        {
            return []; // only a hint is lost
        }
    }

    [GeneratedRegex(@"^(libnvrtc(-[0-9a-f]+)?\.so(\.[0-9]+)*|nvrtc64_[0-9]+_[0-9]+\.dll)$")]
    private static partial Regex NvrtcName();

    [GeneratedRegex(@"^(libnvrtc-builtins(-[0-9a-f]+)?\.so\.(?<linux>[0-9.]+)|nvrtc-builtins64_(?<windows>[0-9]+)\.dll)$")]
    private static partial Regex BuiltinsName();

    [GeneratedRegex(@"^(lib)?(LibTorchSharp|torch_cuda|torch_cpu|torch|c10_cuda)(-[0-9a-f]+)?\.(so|dll)")]
    private static partial Regex LibTorchName();

    [GeneratedRegex(@"\.so\.(?<number>[0-9]+(\.[0-9]+)?)")]
    private static partial Regex SharedObjectVersion();

    [GeneratedRegex(@"[_v-](?<number>[0-9]+(\.[0-9]+)?)")]
    private static partial Regex FirstNumber();
}
