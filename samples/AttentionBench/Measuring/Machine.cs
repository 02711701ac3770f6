using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using TorchFlash;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cpu;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionBench.Measuring;

/// <summary>What numbers were taken on and with: they mean nothing without it.</summary>
/// <param name="Processor">Name, as the operating system has it.</param>
/// <param name="Processors">How many this process may use.</param>
/// <param name="Caches">Of the first processor.</param>
/// <param name="Threads">Of libtorch and of flash.</param>
/// <param name="Engine">What the CPU engine says of itself.</param>
/// <param name="VectorBits">Width of the engine's registers.</param>
/// <param name="CeilingGflops">GFLOP/s of multiply-adds by register width, in float32, all threads.</param>
/// <param name="Libtorch">Version.</param>
/// <param name="FusedSdpa">Whether its scaled_dot_product_attention is a fused kernel on processors.</param>
/// <param name="Blas">Library, where it can be told.</param>
/// <param name="MatmulGflops">GFLOP/s of libtorch's product of two float32 matrices of 1024 x 1024.</param>
/// <param name="Dotnet">Runtime.</param>
/// <param name="System">Operating system.</param>
/// <param name="Commit">Of the source this was built from.</param>
/// <param name="Date">When.</param>
internal sealed record Machine(
    string Processor, int Processors, string Caches, int Threads, string Engine, int VectorBits, IReadOnlyDictionary<string, double> CeilingGflops,
    string Libtorch, bool FusedSdpa, string Blas, double MatmulGflops, string Dotnet, string System, string Commit, string Date)
{
    private const string Unknown = "unknown";

    /// <summary>libtorch 2.2 brought the fused attention kernel for processors.</summary>
    public static bool HasFusedAttention => global::System.Version.Parse(__version__.Split('+', '-', 'a', 'r')[0]) >= new Version(2, 2);

    /// <summary>Measures the ceilings and a product, and asks the operating system for the rest.</summary>
    public static Machine Describe()
    {
        int threads = get_num_threads();
        var ceilings = FmaCeiling.Widths.Append(CpuEngine.Instance.VectorBits).Distinct().Order()
            .ToDictionary(bits => bits.ToString(CultureInfo.InvariantCulture), bits => Math.Round(new FmaCeiling(ElementType.Float32, bits, threads).Best() / 1e9, 1));
        double matmul = Math.Round(Matmul() / 1e9, 1);
        return new(
            ProcessorName(), Environment.ProcessorCount, CacheSizes(), threads, CpuEngine.Instance.Describe(), CpuEngine.Instance.VectorBits, ceilings,
            __version__, HasFusedAttention, BlasName(), matmul, RuntimeInformation.FrameworkDescription, RuntimeInformation.OSDescription.Trim(), SourceCommit(),
            DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture));
    }

    /// <summary>One line for the foot of a picture.</summary>
    public string Summary => $"{Processor}, {Threads} threads, {VectorBits}-bit vectors, libtorch {Libtorch}, {Dotnet}, {Date}, {Commit}";

    /// <summary>All of it, a property a row.</summary>
    public IEnumerable<(string Name, string Value)> Properties =>
    [
        ("processor", $"{Processor}, {Processors} usable"),
        ("caches", Caches),
        ("engine", Engine),
        ("multiply-add ceiling, float32", string.Join(", ", CeilingGflops.Select(c => string.Create(CultureInfo.InvariantCulture, $"{c.Value:F0} GFLOP/s at {(c.Key == "0" ? "one element" : c.Key + " bits")}")))),
        ("threads", Threads.ToString(CultureInfo.InvariantCulture)),
        ("libtorch", $"{Libtorch}, scaled_dot_product_attention {(FusedSdpa ? "fused" : "composed (2.2 is the first with a fused kernel)")}"),
        ("BLAS", string.Create(CultureInfo.InvariantCulture, $"{Blas}; product of matrices {MatmulGflops:F0} GFLOP/s")),
        (".NET", Dotnet),
        ("system", System),
        ("commit", Commit),
        ("date", Date),
    ];

    /// <summary>FLOP/s of libtorch's product, the best of a few.</summary>
    private static double Matmul()
    {
        const int n = 1024;
        using var scope = NewDisposeScope();
        using IDisposable inference = no_grad();
        Tensor a = rand(n, n), b = rand(n, n);
        return 2.0 * n * n * n / Enumerable.Range(0, 8).Min(_ => Measure.Seconds(() => a.mm(b).Dispose()));
    }

    private static string ProcessorName()
    {
        if (File.Exists("/proc/cpuinfo"))
        {
            // Virtual machines leave names out that model numbers tell.
            Dictionary<string, string> fields = File.ReadLines("/proc/cpuinfo").TakeWhile(line => line.Length > 0)
                .Select(line => line.Split(':', 2)).Where(parts => parts.Length == 2).GroupBy(parts => parts[0].Trim()).ToDictionary(g => g.Key, g => g.First()[1].Trim());
            return fields.TryGetValue("model name", out string? name)
                ? $"{name} (family {fields.GetValueOrDefault("cpu family", "?")}, model {fields.GetValueOrDefault("model", "?")})"
                : RuntimeInformation.ProcessArchitecture.ToString();
        }
        return Environment.GetEnvironmentVariable("PROCESSOR_IDENTIFIER") ?? RuntimeInformation.ProcessArchitecture.ToString();
    }

    private static string CacheSizes()
    {
        const string folder = "/sys/devices/system/cpu/cpu0/cache";
        if (!Directory.Exists(folder))
            return Unknown;
        return string.Join(", ", Directory.EnumerateDirectories(folder, "index*").Order(StringComparer.Ordinal)
            .Where(cache => Read(cache, "type") != "Instruction")
            .Select(cache => $"L{Read(cache, "level")} {Read(cache, "size").Replace("K", " KiB", StringComparison.Ordinal)}, shared by processors {Read(cache, "shared_cpu_list")}"));

        static string Read(string cache, string file) => File.Exists(Path.Combine(cache, file)) ? File.ReadAllText(Path.Combine(cache, file)).Trim() : "?";
    }

    private static string BlasName()
    {
        if (!File.Exists("/proc/self/maps"))
            return Unknown;
        string[] names = [.. File.ReadLines("/proc/self/maps").Select(line => line[(line.LastIndexOf(' ') + 1)..])
            .Where(path => Path.GetFileName(path) is var file && (file.Contains("blas", StringComparison.OrdinalIgnoreCase) || file.Contains("mkl", StringComparison.OrdinalIgnoreCase)))
            .Where(path => !Path.GetFileName(path).StartsWith("libcublas", StringComparison.Ordinal)).Distinct()
            .Select(path => path.StartsWith("/usr/lib/", StringComparison.Ordinal) ? path["/usr/lib/".Length..] : Path.GetFileName(path)).Order(StringComparer.Ordinal)];
        return names.Length > 0 ? string.Join(", ", names) : "inside libtorch";
    }

    private static string SourceCommit() =>
        typeof(flash).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+') is [_, { Length: >= 9 } hash] ? hash[..9] : Unknown;
}
