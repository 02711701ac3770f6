using System.IO.Compression;
using System.Text.RegularExpressions;

namespace TorchFlash.Build.Tests;

/// <summary>The suites against a TorchSharp of one's own choice, such as a build of its source: see eng/SystemLibTorch/README.md.</summary>
public sealed partial class PackageSourceTests : IDisposable
{
    private const string Variable = "TORCHFLASH_TEST_PACKAGE_SOURCE";

    private static readonly string? s_source = Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } source ? source : null;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("torchflash-source-");

    public void Dispose() => _folder.Delete(recursive: true);

    [PackageSourceFact]
    public void SuitesPassAgainstThePackageSource()
    {
        string clone = Path.Combine(_folder.FullName, "clone");
        Copy(Repository.Root, clone);
        File.WriteAllText(Path.Combine(_folder.FullName, "nuget.config"), Configuration());
        // A package of the same version that this machine already has must not stand in for the source's.
        var environment = new Dictionary<string, string> { ["NUGET_PACKAGES"] = Path.Combine(_folder.FullName, "cache") };

        Succeeded(Failure(clone, environment, Path.Combine(clone, "build.sh"), "setup", "--provider", nameof(TorchSharpProvider.NuGet)));

        string[] suites = ["TorchFlash.Tests", "Gpt2.Tests"];
        Assert.All(suites.Select(suite => Failure(clone, environment, "dotnet", "test", Path.Combine("tests", suite), "-c", "Release", "--nologo")).ToList(), Succeeded);
    }

    private static void Succeeded(string? failure) => Assert.True(failure is null, failure);

    private static string? Failure(string folder, Dictionary<string, string> environment, string program, params string[] arguments)
    {
        var (exitCode, output, errors) = Executable.Capture(program, arguments, environment, TimeSpan.FromMinutes(15), folder);
        return exitCode == 0 ? null : $"{program} {string.Join(' ', arguments)} ended with exit code {exitCode}:\n{output}{errors}";
    }

    // What git would carry, without asking git: a copy of the sources alone need not be a clone.
    private static void Copy(string from, string to)
    {
        string[] builtOrOwn = ["bin", "obj", "artifacts", ".git", "Directory.Build.local.props"];
        Directory.CreateDirectory(to);
        foreach (var entry in new DirectoryInfo(from).EnumerateFileSystemInfos().Where(entry => entry.LinkTarget is null && !builtOrOwn.Contains(entry.Name)))
        {
            string target = Path.Combine(to, entry.Name);
            if (entry is FileInfo file)
            {
                file.CopyTo(target);
            }
            else
            {
                Copy(entry.FullName, target);
            }
        }
    }

    /// <summary>A configuration that takes the packages of the source from there alone, and the others from where this machine has them.</summary>
    private static string Configuration()
    {
        string source = Path.GetFullPath(s_source!, Repository.Root);
        var own = Directory.EnumerateFiles(source, "*.nupkg", SearchOption.AllDirectories).Select(IdOf).Distinct().ToList();
        Assert.True(own.Contains("TorchSharp", StringComparer.OrdinalIgnoreCase), $"{Variable}={source} holds no package TorchSharp.");

        string cache = Executable.Capture("dotnet", ["nuget", "locals", "global-packages", "--list"]).Output.Split("global-packages:")[1].Trim();
        // Those of the user and the machine: none that a folder above the checkout adds.
        var inEnglish = new Dictionary<string, string> { ["DOTNET_CLI_UI_LANGUAGE"] = "en" };
        string list = Executable.Capture("dotnet", ["nuget", "list", "source"], inEnglish, workingDirectory: Path.GetTempPath()).Output;
        var others = EnabledSource().Matches(list).Select(match => match.Groups["name"].Value).Append("cache");
        return $"""
            <configuration>
              <packageSources>
                <add key="own" value="{source}" />
                <add key="cache" value="{cache}" />
              </packageSources>
              <packageSourceMapping>
                <clear />
                <packageSource key="own">{string.Concat(own.Select(id => $"<package pattern=\"{id}\" />"))}</packageSource>
                {string.Concat(others.Select(name => $"<packageSource key=\"{name}\"><package pattern=\"*\" /></packageSource>"))}
              </packageSourceMapping>
            </configuration>
            """;
    }

    private static string IdOf(string package)
    {
        using var archive = ZipFile.OpenRead(package);
        return Path.GetFileNameWithoutExtension(archive.Entries.Single(entry => entry.FullName.EndsWith(".nuspec", StringComparison.OrdinalIgnoreCase)).Name);
    }

    [GeneratedRegex(@"^\s*\d+\.\s+(?<name>.+) \[Enabled\]", RegexOptions.Multiline)]
    private static partial Regex EnabledSource();

    private sealed class PackageSourceFactAttribute : FactAttribute
    {
        public PackageSourceFactAttribute() =>
            Skip = s_source is null ? $"{Variable} names no package source: nothing was run against a TorchSharp of one's own" : null;
    }
}
