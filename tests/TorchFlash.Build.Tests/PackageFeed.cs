using System.IO.Compression;
using System.Reflection;

namespace TorchFlash.Build.Tests;

/// <summary>
/// A local package source with TorchFlash's packages, and a package cache of its own. Where the machine's source has no
/// TorchSharp, this repository's provider is packed under that name, so that the NuGet route is walked everywhere.
/// </summary>
public sealed class PackageFeed : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("torchflash-nuget-");
    private readonly Dictionary<string, string> _environment;

    public PackageFeed()
    {
        Directory.CreateDirectory(Packages);
        _environment = new Dictionary<string, string>
        {
            ["NUGET_PACKAGES"] = PathOf("cache"),
            ["RestoreConfigFile"] = PathOf("NuGet.config"),
        };
        bool standIn = BuiltAgainst == TorchSharpProvider.SystemLibTorch.ToString();
        WriteConfiguration(standIn ? ["TorchFlash", "TorchFlash.*", "TorchSharp", "TorchSharp-cpu"] : ["TorchFlash", "TorchFlash.*"]);
        if (standIn)
        {
            Pack("eng/SystemLibTorch/TorchSharp.SystemLibTorch", "SystemLibTorch", "-p:PackAsTorchSharp=true", $"-p:PackageVersion={Repository.TorchSharpVersion}");
            WriteRuntimePackage();
        }

        Pack("src/TorchFlash.Kernels", "NuGet");
        Pack("src/TorchFlash", "NuGet");
    }

    /// <summary>The folder of the .nupkg files.</summary>
    public string Packages => PathOf("packages");

    public string PathOf(params ReadOnlySpan<string> parts) => Path.Combine([_folder.FullName, .. parts]);

    /// <summary>Runs dotnet against this source and cache alone and returns what it wrote.</summary>
    public string Dotnet(params ReadOnlySpan<string> arguments)
    {
        string[] line = arguments.ToArray();
        var (exitCode, output, errors) = Executable.Capture("dotnet", line, _environment);
        Assert.True(exitCode == 0, $"dotnet {string.Join(' ', line)} ended with exit code {exitCode}:\n{output}{errors}");
        return output;
    }

    public void Dispose() => _folder.Delete(recursive: true);

    private static string BuiltAgainst =>
        typeof(PackageFeed).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(a => a.Key == "TorchSharpProvider").Value!;

    private void Pack(string project, string provider, params ReadOnlySpan<string> properties) =>
        Dotnet(["pack", project, "-o", Packages, "--artifacts-path", PathOf("artifacts"), $"-p:TorchSharpProvider={provider}", .. properties]);

    // Everything not in the feed comes from the machine's own package cache, which a build of this repository has filled.
    private void WriteConfiguration(IEnumerable<string> fromFeed)
    {
        string cache = Executable.Capture("dotnet", ["nuget", "locals", "global-packages", "--list"]).Output.Split("global-packages:")[1].Trim();
        File.WriteAllText(PathOf("NuGet.config"), $"""
            <configuration>
              <packageSources>
                <clear />
                <add key="feed" value="{Packages}" />
                <add key="cache" value="{cache}" />
              </packageSources>
              <packageSourceMapping>
                <clear />
                <packageSource key="feed">{string.Concat(fromFeed.Select(id => $"<package pattern=\"{id}\" />"))}</packageSource>
                <packageSource key="cache"><package pattern="*" /></packageSource>
              </packageSourceMapping>
            </configuration>
            """);
    }

    // The real TorchSharp-cpu brings libtorch; the stand-in's libtorch is the system's, so that nothing but the dependency is left.
    private void WriteRuntimePackage()
    {
        string version = Repository.TorchSharpVersion;
        using var package = ZipFile.Open(Path.Combine(Packages, $"TorchSharp-cpu.{version}.nupkg"), ZipArchiveMode.Create);
        using var nuspec = new StreamWriter(package.CreateEntry("TorchSharp-cpu.nuspec").Open());
        nuspec.Write($"""
            <package xmlns="http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd">
              <metadata>
                <id>TorchSharp-cpu</id>
                <version>{version}</version>
                <authors>TorchFlash contributors</authors>
                <description>Stands in for the runtime package where the package source has none.</description>
                <dependencies><dependency id="TorchSharp" version="{version}" /></dependencies>
              </metadata>
            </package>
            """);
    }
}
