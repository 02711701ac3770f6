using System.Xml;
using System.Xml.Linq;

namespace TorchFlash.Build;

/// <summary>
/// What this machine builds against, kept in <c>Directory.Build.local.props</c>, which every project imports: MSBuild,
/// <c>dotnet test</c> and an IDE need no more to be told.
/// </summary>
/// <param name="Provider">The MSBuild property <c>TorchSharpProvider</c>.</param>
/// <param name="Runtime">The MSBuild property <c>TorchRuntime</c>.</param>
/// <param name="LibTorch">The libtorch folder that <c>LIBTORCH_DIR</c> named at set-up, or null for the system's.</param>
/// <param name="Version">The TorchSharp version the decision was made for; null in a file written by hand, which is never overwritten.</param>
internal sealed record LocalSettings(TorchSharpProvider Provider, TorchRuntime Runtime, string? LibTorch, string? Version)
{
    public static string DefaultPath { get; } = Repository.PathOf("Directory.Build.local.props");

    /// <summary>The settings in a file, or null when there is none.</summary>
    /// <exception cref="BuildException">The file holds something else; with an <see cref="XmlException"/> inside when it is not even XML.</exception>
    public static LocalSettings? Read(string path)
    {
        if (!File.Exists(path))
        {
            return null;
        }

        var properties = Load(path).Descendants("PropertyGroup").Elements()
            .GroupBy(e => e.Name.LocalName)
            .ToDictionary(g => g.Key, g => g.Last().Value);
        return new LocalSettings(
            Parse(properties.GetValueOrDefault("TorchSharpProvider"), TorchSharpProvider.NuGet, path),
            Parse(properties.GetValueOrDefault("TorchRuntime"), TorchRuntime.Cpu, path),
            properties.GetValueOrDefault("LIBTORCH_DIR"),
            properties.GetValueOrDefault("SetUpForTorchSharp"));
    }

    public void Write(string path)
    {
        var properties = new XElement(
            "PropertyGroup",
            new XElement("TorchSharpProvider", Provider),
            new XElement("TorchRuntime", Runtime.ToString().ToLowerInvariant()),
            LibTorch is null ? null : new XElement("LIBTORCH_DIR", LibTorch),
            new XElement("SetUpForTorchSharp", Version));
        var project = new XElement(
            "Project",
            new XComment(" Written by build.sh / build.cmd; 'setup' decides anew. Delete the last property to keep your own edits. "),
            properties);
        // A build that runs meanwhile sees the old file or the new one, never a part.
        string temporary = path + ".tmp";
        File.WriteAllText(temporary, project + "\n");
        File.Move(temporary, path, overwrite: true);
    }

    private static XDocument Load(string path)
    {
        try
        {
            return XDocument.Load(path);
        }
        catch (XmlException e)
        {
            throw new BuildException($"{path} is not well-formed XML ({e.Message}); 'setup' writes it anew.", e);
        }
    }

    private static T Parse<T>(string? text, T absent, string path)
        where T : struct, Enum =>
        text is null ? absent
        : Enum.TryParse<T>(text, ignoreCase: true, out var value) ? value
        : throw new BuildException($"{path}: '{text}' is not one of {string.Join(", ", Enum.GetNames<T>())}.");
}

/// <summary>Where the TorchSharp assembly comes from.</summary>
internal enum TorchSharpProvider
{
    /// <summary>The NuGet packages.</summary>
    NuGet,

    /// <summary>This repository's provider over a libtorch of the operating system.</summary>
    SystemLibTorch,
}

/// <summary>Which native packages go with TorchSharp from NuGet.</summary>
internal enum TorchRuntime
{
    /// <summary>TorchSharp-cpu.</summary>
    Cpu,

    /// <summary>The CUDA packages of the operating system.</summary>
    Cuda,
}
