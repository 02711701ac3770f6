using System.Text;
using System.Xml;

namespace Gpt2.Text;

/// <summary>The default text: the API documentation that every .NET SDK carries in its reference pack.</summary>
public static class ReferencePackCorpus
{
    private const string PackName = "Microsoft.NETCore.App.Ref";

    /// <summary>The documentation files of the newest reference pack below one of the .NET installations.</summary>
    /// <exception cref="UserException">No installation has one.</exception>
    public static IReadOnlyList<string> Locate(IReadOnlyList<string> dotnetRoots)
    {
        foreach (string root in dotnetRoots)
        {
            string pack = Path.Combine(root, "packs", PackName);
            if (!Directory.Exists(pack)) continue;

            IEnumerable<string> frameworks = Directory.EnumerateDirectories(pack)
                .OrderByDescending(directory => Version.TryParse(Path.GetFileName(directory), out Version? version) ? version : new Version())
                .Select(version => Path.Combine(version, "ref"))
                .Where(Directory.Exists)
                .SelectMany(Directory.EnumerateDirectories);
            foreach (string framework in frameworks)
            {
                string[] files = Directory.GetFiles(framework, "*.xml");
                if (files.Length == 0) continue;
                Array.Sort(files, StringComparer.Ordinal);
                return files;
            }
        }

        throw new UserException(
            $"No default text: none of {string.Join(", ", dotnetRoots)} has documentation files in packs/{PackName}/*/ref/*/*.xml. " +
            "Set DOTNET_ROOT to the folder of a .NET SDK that has its reference packs, or name text files with --data.");
    }

    /// <summary>The prose of one documentation file.</summary>
    /// <exception cref="UserException">It cannot be read or is not well-formed XML.</exception>
    public static string ReadText(string path)
    {
        try
        {
            using FileStream stream = File.OpenRead(path);
            return XmlDocumentation.ReadText(stream);
        }
        catch (XmlException e)
        {
            throw new UserException($"{path}: not well-formed XML: {e.Message}", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"Cannot read {path}: {e.Message}", e);
        }
    }
}

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

/// <summary>Reads the prose out of a .NET XML documentation file.</summary>
public static class XmlDocumentation
{
    /// <summary>
    /// The text of all members: one line for each summary, parameter, return value, remark or exception, and an empty line
    /// after each member. Tags are dropped, references become the name they refer to, white space runs become one space.
    /// </summary>
    /// <exception cref="XmlException">The file is not well-formed.</exception>
    public static string ReadText(Stream xml)
    {
        var text = new StringBuilder();
        var line = new StringBuilder();
        using XmlReader reader = XmlReader.Create(xml, new XmlReaderSettings { DtdProcessing = DtdProcessing.Prohibit });

        // <doc> <members> <member> <summary>...: a line is what stands below depth 3.
        const int MemberDepth = 2, LineDepth = 3;
        bool inMember = false;
        while (reader.Read())
        {
            switch (reader.NodeType)
            {
                case XmlNodeType.Element when reader.Depth == MemberDepth:
                    inMember = reader.Name == "member" && !reader.IsEmptyElement;
                    break;
                case XmlNodeType.Element when inMember && reader.Depth == LineDepth:
                    if (reader.Name is "param" or "typeparam") line.Append(reader.GetAttribute("name")).Append(": ");
                    if (reader.Name is "exception") line.Append(ReferredName(reader.GetAttribute("cref"))).Append(": ");
                    if (reader.IsEmptyElement) line.Clear();
                    break;
                case XmlNodeType.Element when inMember:
                    if (reader.IsEmptyElement) line.Append(Reference(reader));
                    if (SeparatesWords(reader.Name)) line.Append(' ');
                    break;
                case XmlNodeType.Text or XmlNodeType.CDATA or XmlNodeType.Whitespace or XmlNodeType.SignificantWhitespace
                    when inMember && reader.Depth > LineDepth:
                    line.Append(reader.Value);
                    break;
                case XmlNodeType.EndElement when inMember && reader.Depth == LineDepth:
                    AppendNormalised(text, line);
                    break;
                case XmlNodeType.EndElement when inMember && reader.Depth == MemberDepth:
                    if (text.Length > 0 && text[^1] == '\n' && !(text.Length > 1 && text[^2] == '\n')) text.Append('\n');
                    inMember = false;
                    break;
                case XmlNodeType.EndElement when inMember && SeparatesWords(reader.Name):
                    line.Append(' ');
                    break;
            }
        }

        return text.ToString();
    }

    /// <summary>The readable name in a documentation id: <c>M:System.IO.Stream.Read(System.Byte[])</c> is <c>Stream.Read</c>.</summary>
    public static string ReferredName(string? id)
    {
        if (string.IsNullOrEmpty(id)) return "";
        string kind = id is [_, ':', ..] ? id[..1] : "";
        string name = kind.Length == 0 ? id : id[2..];
        int parameters = name.IndexOf('(', StringComparison.Ordinal);
        if (parameters >= 0) name = name[..parameters];

        string[] parts = name.Split('.', StringSplitOptions.RemoveEmptyEntries);
        if (parts.Length == 0) return "";
        string last = WithoutArity(parts[^1]);
        return kind switch
        {
            "M" or "P" or "F" or "E" when parts.Length > 1 && last is "#ctor" or "#cctor" => WithoutArity(parts[^2]),
            "M" or "P" or "F" or "E" when parts.Length > 1 => $"{WithoutArity(parts[^2])}.{last}",
            "N" => name,
            _ => last,
        };
    }

    private static string WithoutArity(string name)
    {
        int arity = name.IndexOf('`', StringComparison.Ordinal);
        return arity < 0 ? name : name[..arity];
    }

    private static string Reference(XmlReader element) =>
        element.GetAttribute("name")
        ?? element.GetAttribute("langword")
        ?? (element.GetAttribute("cref") is { } cref ? ReferredName(cref) : null)
        ?? element.GetAttribute("href")
        ?? "";

    private static bool SeparatesWords(string element) =>
        element is "para" or "p" or "br" or "item" or "term" or "description" or "list" or "listheader" or "code" or "li" or "ul";

    private static void AppendNormalised(StringBuilder text, StringBuilder line)
    {
        int start = text.Length;
        foreach (char c in line.ToString())
        {
            if (!char.IsWhiteSpace(c)) text.Append(c);
            else if (text.Length > start && text[^1] != ' ') text.Append(' ');
        }

        if (text.Length > start && text[^1] == ' ') text.Length--;
        if (text.Length > start) text.Append('\n');
        line.Clear();
    }
}
