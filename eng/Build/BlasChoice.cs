namespace TorchFlash.Build;

/// <summary>The BLAS that Debian's alternatives system gives to libtorch, and what it costs.</summary>
/// <param name="Library">The library file behind <c>libblas.so.3</c>.</param>
internal sealed record BlasChoice(string Library)
{
    public bool IsFast => Warning is null;

    /// <summary>What is wrong with this BLAS under libtorch's OpenMP loops, or null.</summary>
    public string? Warning =>
        Library.Contains("/openblas-pthread/", StringComparison.Ordinal) ? "OpenBLAS with its own threads is 3 to 5 times slower under libtorch than its OpenMP build"
        : Library.Contains("/openblas-serial/", StringComparison.Ordinal) ? "the single-threaded OpenBLAS leaves all cores but one idle"
        : Library.Contains("/atlas/", StringComparison.Ordinal) ? "ATLAS is several times slower than OpenBLAS"
        : Library.Contains("/blas/", StringComparison.Ordinal) ? "the reference BLAS makes libtorch about 30 times slower"
        : null;

    /// <summary>The active choice, or null where the system has no such alternatives.</summary>
    public static BlasChoice? Active() => Link() is { } link ? new BlasChoice(link.ResolveLinkTarget(returnFinalTarget: false)!.FullName) : null;

    /// <summary>Says so when libtorch would run on a slow BLAS, with the command that changes it.</summary>
    public static void WarnIfSlow()
    {
        if (Active()?.Warning is { } warning)
        {
            string name = Link()!.Name;
            string fast = $"/usr/lib/{name["libblas.so.3-".Length..]}/openblas-openmp";
            Console.WriteLine($"warning: {warning}. To change that:");
            Console.WriteLine("    sudo apt-get install -y libopenblas0-openmp");
            Console.WriteLine($"    sudo update-alternatives --set {name} {fast}/libblas.so.3");
            Console.WriteLine($"    sudo update-alternatives --set {name.Replace("blas", "openblas").Replace(".so.3", ".so.0")} {fast}/libopenblas.so.0");
        }
    }

    private static FileInfo? Link() =>
        Directory.Exists("/etc/alternatives")
            ? new DirectoryInfo("/etc/alternatives").EnumerateFiles("libblas.so.3-*").FirstOrDefault(file => file.LinkTarget is not null)
            : null;
}
