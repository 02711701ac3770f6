namespace TorchSharp;

/// <summary>Warns when libtorch runs on a BLAS that is many times slower than what the machine can do.</summary>
internal static class LinearAlgebraLibrary
{
    private const string Remedy =
        "Install the OpenMP build of OpenBLAS (apt-get install libopenblas0-openmp) and select it with "
        + "update-alternatives --config libblas.so.3-x86_64-linux-gnu.";

    /// <summary>Writes one line to standard error when the BLAS this process has loaded is a slow one.</summary>
    internal static void WarnWhenSlow()
    {
        _ = Bridge.LiveTensors(); // loads libtorch, and with it the BLAS
        if (OperatingSystem.IsLinux() && Complaint(File.ReadLines("/proc/self/maps")) is { } complaint)
        {
            Console.Error.WriteLine($"warning: {complaint} {Remedy}");
        }
    }

    /// <summary>What is wrong with the BLAS among the mapped files, null if nothing is.</summary>
    /// <param name="maps">Lines of <c>/proc/self/maps</c>: a Debian BLAS is told apart by its folder.</param>
    internal static string? Complaint(IEnumerable<string> maps)
    {
        string[] paths = maps
            .Select(line => line.IndexOf('/') is >= 0 and int start ? line[start..] : "")
            .Where(path => path.Contains("blas", StringComparison.Ordinal) || path.Contains("libmkl", StringComparison.Ordinal))
            .Distinct()
            .ToArray();
        if (Array.Find(paths, path => path.Contains("openblas-pthread", StringComparison.Ordinal)) is { } threads)
        {
            return $"libtorch uses the pthread build of OpenBLAS ({threads}), which competes with libtorch's own OpenMP threads.";
        }
        string? reference = Array.Find(paths, path => path.Contains("/blas/libblas.so", StringComparison.Ordinal));
        return reference is not null ? $"libtorch uses the reference BLAS ({reference}), about 30 times slower than OpenBLAS." : null;
    }
}
