using System.Runtime.InteropServices;

namespace TorchFlash.Kernels.Cuda;

/// <summary>Finds and loads the driver and NVRTC, and keeps what was tried for those who wonder why the engine is off.</summary>
internal sealed class CudaLibraries(LibrarySearch search)
{
    private readonly List<string> _attempts = [];

    /// <summary>One line for each library that was tried and not taken.</summary>
    public IReadOnlyList<string> Attempts => _attempts;

    /// <summary>The driver, or null: then <see cref="Attempts"/> says why.</summary>
    public CudaDriver? LoadDriver()
    {
        foreach (LibraryCandidate candidate in search.Driver())
        {
            if (!TryLoad(candidate, out nint library))
                continue;
            try
            {
                return new CudaDriver(library, candidate.Path);
            }
            catch (Exception e) when (e is CudaException or EntryPointNotFoundException)
            {
                _attempts.Add($"{candidate.Path} ({candidate.Origin}): {e.Message}");
            }
        }
        return null;
    }

    /// <summary>An NVRTC of this version at least, whose code the driver takes, or null: then <see cref="Attempts"/> says why.</summary>
    /// <param name="atLeast">The oldest that will do.</param>
    /// <param name="driver">CUDA version of the driver: an NVRTC of a newer major version makes code that it does not load. Null: any.</param>
    public Nvrtc? LoadNvrtc(Version atLeast, Version? driver)
    {
        foreach (LibraryCandidate candidate in search.Nvrtc())
        {
            if (!TryLoad(candidate, out nint library))
                continue;
            try
            {
                var nvrtc = new Nvrtc(library, candidate.Path);
                if (nvrtc.Version < atLeast)
                    _attempts.Add($"{candidate.Path} ({candidate.Origin}): its version is {nvrtc.Version}, at least {atLeast} is needed");
                else if (driver is not null && nvrtc.Version.Major > driver.Major)
                    _attempts.Add($"{candidate.Path} ({candidate.Origin}): its version is {nvrtc.Version}, the driver is one for CUDA {driver}");
                else
                {
                    LoadBuiltins(nvrtc);
                    return nvrtc;
                }
            }
            catch (Exception e) when (e is CudaException or EntryPointNotFoundException)
            {
                _attempts.Add($"{candidate.Path} ({candidate.Origin}): {e.Message}");
            }
        }
        return null;
    }

    private void LoadBuiltins(Nvrtc nvrtc)
    {
        string? builtins = search.BuiltinsOf(nvrtc.Path, nvrtc.Version);
        if (builtins is not null)
            _ = TryLoad(new LibraryCandidate(builtins, "beside NVRTC"), out _);
    }

    private bool TryLoad(LibraryCandidate candidate, out nint library)
    {
        try
        {
            library = NativeLibrary.Load(candidate.Path);
            return true;
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
        {
            string reason = File.Exists(candidate.Path) || !Path.IsPathRooted(candidate.Path) ? LoadersReason(e.Message) : "not there";
            _attempts.Add($"{candidate.Path} ({candidate.Origin}): {reason}");
            library = 0;
            return false;
        }
    }

    /// <summary>.NET prefixes what the loader says, a line for each name that it has tried, with advice.</summary>
    private static string LoadersReason(string message)
    {
        string[] lines = [.. message.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Distinct()];
        return lines.Length > 1 ? lines[1] : lines.FirstOrDefault("");
    }
}
