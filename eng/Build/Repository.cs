using System.Reflection;

namespace TorchFlash.Build;

/// <summary>Where things are in this repository, and the versions its central properties ask for.</summary>
internal static class Repository
{
    public const string Solution = "TorchFlash.sln";

    /// <summary>The folder of the solution, found upwards from this assembly: a checkout may be moved after it was built.</summary>
    public static string Root { get; } = FindRoot(new DirectoryInfo(AppContext.BaseDirectory));

    public static string TorchSharpVersion { get; } = Metadata("TorchSharpVersion");

    public static string PathOf(params ReadOnlySpan<string> parts) => Path.Combine([Root, .. parts]);

    /// <summary>The assembly a project's Release build leaves behind.</summary>
    public static string ReleaseAssembly(string projectFolder) =>
        PathOf(projectFolder, "bin", "Release", "net10.0", Path.GetFileName(projectFolder) + ".dll");

    /// <summary>The folders of the test projects, by the name's ending; the provider's own hold nothing where another one is built against.</summary>
    public static IEnumerable<string> TestProjects(TorchSharpProvider provider) =>
        (provider == TorchSharpProvider.SystemLibTorch ? new[] { PathOf("tests"), PathOf("eng", "SystemLibTorch") } : [PathOf("tests")])
            .SelectMany(folder => Directory.EnumerateDirectories(folder, "*.Tests"))
            .Select(folder => Path.GetRelativePath(Root, folder))
            .Order(StringComparer.Ordinal);

    private static string FindRoot(DirectoryInfo? folder) =>
        folder is null ? throw new BuildException($"No folder above {AppContext.BaseDirectory} holds {Solution}.")
        : File.Exists(Path.Combine(folder.FullName, Solution)) ? folder.FullName
        : FindRoot(folder.Parent);

    private static string Metadata(string key) =>
        typeof(Repository).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(a => a.Key == key).Value!;
}
