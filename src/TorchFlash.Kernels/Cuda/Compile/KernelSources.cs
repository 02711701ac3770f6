using System.Reflection;
using System.Text.RegularExpressions;

namespace TorchFlash.Kernels.Cuda;

/// <summary>The CUDA sources, by file name: those embedded in this assembly, or, for tests, changed ones.</summary>
internal sealed partial class KernelSources(IReadOnlyDictionary<string, string> files)
{
    /// <summary>Those that this assembly brings.</summary>
    public static KernelSources Embedded { get; } = new(ReadEmbedded());

    /// <summary>Texts by name.</summary>
    public IReadOnlyDictionary<string, string> Files { get; } = files;

    public string this[string name] => Files.TryGetValue(name, out string? text) ? text
        : throw new InvalidOperationException($"This build of TorchFlash has no CUDA source '{name}'; it has {string.Join(", ", Files.Keys.Order(StringComparer.Ordinal))}.");

    /// <summary>The same with another text for one file.</summary>
    public KernelSources With(string name, string text) => new(new Dictionary<string, string>(Files) { [name] = text });

    /// <summary>Every header that a file includes, directly or not, in the order of their names.</summary>
    public IReadOnlyList<(string Name, string Text)> HeadersOf(string name)
    {
        var found = new SortedDictionary<string, string>(StringComparer.Ordinal);
        var open = new Stack<string>([name]);
        while (open.TryPop(out string? file))
        {
            foreach (Match match in Include().Matches(this[file]))
            {
                string header = match.Groups["name"].Value;
                // Not ours: a header that only a host compiler gets to see.
                if (Files.TryGetValue(header, out string? text) && found.TryAdd(header, text))
                    open.Push(header);
            }
        }
        return [.. found.Select(f => (f.Key, f.Value))];
    }

    private static Dictionary<string, string> ReadEmbedded()
    {
        Assembly assembly = typeof(KernelSources).Assembly;
        var files = new Dictionary<string, string>();
        foreach (string name in assembly.GetManifestResourceNames().Where(n => n.EndsWith(".cu", StringComparison.Ordinal) || n.EndsWith(".cuh", StringComparison.Ordinal)))
        {
            using var reader = new StreamReader(assembly.GetManifestResourceStream(name)!);
            files.Add(name, reader.ReadToEnd());
        }
        return files;
    }

    [GeneratedRegex("""^[ \t]*#[ \t]*include[ \t]*"(?<name>[^"]+)""", RegexOptions.Multiline)]
    private static partial Regex Include();
}
