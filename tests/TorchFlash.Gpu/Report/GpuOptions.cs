using System.CommandLine;
using TorchFlash.Gpu.Device;

namespace TorchFlash.Gpu.Report;

/// <summary>Options that every verb has, and the GPU they name.</summary>
internal static class GpuOptions
{
    public static Option<DirectoryInfo> Out { get; } = new("--out")
    {
        Description = "Folder for the reports.",
        DefaultValueFactory = _ => new DirectoryInfo(Path.Combine("artifacts", "gpu-results")),
        Recursive = true,
    };

    public static Option<int> Device { get; } = new("--device") { Description = "Number of the GPU.", Recursive = true };

    public static Option<double> Seconds { get; } = new("--seconds") { Description = "Time to spend, about.", DefaultValueFactory = _ => 300, Recursive = true };

    /// <summary>The engines of the GPU that was asked for; null, said loudly, where there is none.</summary>
    public static EngineSet? Engines(ParseResult parsed)
    {
        EngineSet? engines = EngineSet.TryCreate(parsed.GetValue(Device), out string reason);
        if (engines is null)
        {
            Console.Error.WriteLine($"NO GPU: {reason}");
            Console.Error.WriteLine("Nothing was run.");
        }
        return engines;
    }

    /// <summary>How a report names the GPU.</summary>
    public static string Name(EngineSet engines) => $"{engines.Name}, sm_{engines.Architecture}, {engines.Multiprocessors} multiprocessors";
}
