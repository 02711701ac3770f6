using System.Reflection;
using System.Text.RegularExpressions;

namespace TorchFlash.Kernels.Cuda;

/// <summary>The CUDA sources, by file name: those embedded in this assembly, or, for tests, changed ones.</summary>
internal sealed partial class KernelSources
{
    private readonly IReadOnlyDictionary<string, string> _files;

    private KernelSources(IReadOnlyDictionary<string, string> files) => _files = files;

    /// <summary>Those that this assembly brings.</summary>
    public static KernelSources Embedded { get; } = new(ReadEmbedded());

    /// <summary>Names of the files.</summary>
    public IEnumerable<string> Names => _files.Keys.Order(StringComparer.Ordinal);

    /// <summary>The kernels: the names of the *.cu files without their ending.</summary>
    public IEnumerable<string> Kernels => Names.Where(n => n.EndsWith(".cu", StringComparison.Ordinal)).Select(n => n[..^3]);

    public string this[string name] => _files.TryGetValue(name, out string? text) ? text
        : throw new InvalidOperationException($"This build of TorchFlash has no CUDA source '{name}'; it has {string.Join(", ", Names)}.");

    /// <summary>The same with another text for one file.</summary>
    public KernelSources With(string name, string text)
    {
        var files = new Dictionary<string, string>(_files) { [name] = text };
        return new KernelSources(files);
    }

    /// <summary>Whether there is such a file.</summary>
    public bool Has(string name) => _files.ContainsKey(name);

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
                if (_files.TryGetValue(header, out string? text) && found.TryAdd(header, text))
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
