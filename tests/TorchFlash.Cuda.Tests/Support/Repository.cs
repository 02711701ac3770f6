namespace TorchFlash.Cuda.Tests;

internal static class Repository
{
    /// <summary>The folder of the solution, found upwards from this assembly: a checkout may be moved after it was built.</summary>
    public static string Root { get; } = FindRoot(new DirectoryInfo(AppContext.BaseDirectory));

    private static string FindRoot(DirectoryInfo? folder) =>
        folder is null ? throw new DirectoryNotFoundException($"No folder above {AppContext.BaseDirectory} holds TorchFlash.sln.")
        : File.Exists(Path.Combine(folder.FullName, "TorchFlash.sln")) ? folder.FullName
        : FindRoot(folder.Parent);
}
