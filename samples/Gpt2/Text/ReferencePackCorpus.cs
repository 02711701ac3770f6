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
