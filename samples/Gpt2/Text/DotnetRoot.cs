namespace Gpt2.Text;

/// <summary>Finds the folders in which .NET may be installed.</summary>
public static class DotnetRoot
{
    /// <summary>
    /// Candidates, best first: <c>DOTNET_ROOT</c>, the <c>dotnet</c> that started this process, the runtime this process
    /// runs on, every <c>dotnet</c> on the path, and the usual places of the installers.
    /// </summary>
    public static IReadOnlyList<string> Candidates()
    {
        string executable = OperatingSystem.IsWindows() ? "dotnet.exe" : "dotnet";
        var found = new List<string>();

        void Add(string? directory)
        {
            if (!string.IsNullOrEmpty(directory) && Directory.Exists(directory)) found.Add(Path.GetFullPath(directory));
        }

        void AddHost(string? host)
        {
            if (string.IsNullOrEmpty(host) || !File.Exists(host)) return;
            if (!Path.GetFileName(host).Equals(executable, StringComparison.OrdinalIgnoreCase)) return;
            string target = File.ResolveLinkTarget(host, returnFinalTarget: true)?.FullName ?? host;
            Add(Path.GetDirectoryName(target));
        }

        Add(Environment.GetEnvironmentVariable("DOTNET_ROOT"));
        AddHost(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH"));
        AddHost(Environment.ProcessPath);

        // The runtime is <root>/shared/Microsoft.NETCore.App/<version>.
        Add(Path.GetDirectoryName(Path.GetDirectoryName(Path.GetDirectoryName(
            Path.TrimEndingDirectorySeparator(System.Runtime.InteropServices.RuntimeEnvironment.GetRuntimeDirectory())))));

        foreach (string directory in (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator))
            AddHost(Path.Combine(directory, executable));

        Add("/usr/share/dotnet");
        Add("/usr/lib/dotnet");
        Add("/usr/local/share/dotnet");
        Add(Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".dotnet"));
        if (OperatingSystem.IsWindows())
            Add(Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.ProgramFiles), "dotnet"));

        return [.. found.Distinct()];
    }
}
