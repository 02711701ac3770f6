using System.Text;
using Gpt2;

namespace AttentionBench.Output;

/// <summary>Files that appear as a whole or not at all.</summary>
internal static class OutputFile
{
    /// <summary>Replaces the file, its folder made where there is none: written beside it and renamed.</summary>
    /// <param name="option">Which option named the file, for messages.</param>
    /// <param name="path">The file.</param>
    /// <param name="content">Its new content.</param>
    /// <exception cref="UserException">The operating system refuses it, or something other than a file stands there.</exception>
    public static void Write(string option, string path, string content)
    {
        string? temporary = null;
        try
        {
            Check(option, path);
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            string candidate = $"{path}.{Path.GetRandomFileName()[..8]}.tmp";
            using (var stream = new FileStream(candidate, FileMode.CreateNew, FileAccess.Write, FileShare.None))
            {
                temporary = candidate;
                stream.Write(Encoding.UTF8.GetBytes(content));
                stream.Flush(flushToDisk: true);
            }
            File.Move(temporary, path, overwrite: true);
            temporary = null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{option}: {path} cannot be written: {e.Message}", e);
        }
        finally
        {
            if (temporary is not null)
                File.Delete(temporary);
        }
    }

    /// <summary>Refuses what cannot be written, before minutes are spent on its content.</summary>
    /// <exception cref="UserException">Something other than a file stands there.</exception>
    /// <exception cref="IOException">The operating system does not say.</exception>
    public static void Check(string option, string path)
    {
        if (Path.EndsInDirectorySeparator(path))
            throw new UserException($"{option}: {path} is a folder; name a file.");

        // A rename would take the place of a link, a pipe or a device.
        FileKind kind = RegularFile.Kind(path, followLink: false);
        if (kind is not (FileKind.None or FileKind.Regular))
            throw new UserException($"{option}: {path} is {RegularFile.Describe(kind)}; name a file.");
    }
}
