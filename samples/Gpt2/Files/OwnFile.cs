namespace Gpt2.Files;

/// <summary>
/// Replaces files as a whole, and only the program's own ones. After a crash at any moment the old or the new content is
/// there, never a part. A file of another kind or origin, told by its content, is refused by name; no link is followed.
/// </summary>
internal static class OwnFile
{
    /// <summary>Whether there is a file of ours at <paramref name="path"/>.</summary>
    /// <param name="path">The file.</param>
    /// <param name="recognise">Reads a file and throws a <see cref="UserException"/> if it is not of the wanted kind.</param>
    /// <exception cref="UserException">Something else stands there.</exception>
    internal static bool Exists(string path, Action<string> recognise)
    {
        try
        {
            FileKind kind = RegularFile.Kind(path, followLink: false);
            if (kind is not (FileKind.None or FileKind.Regular)) throw new UserException($"--checkpoint: {path} is {RegularFile.Describe(kind)}.");
            if (kind == FileKind.Regular) recognise(path);
            return kind == FileKind.Regular;
        }
        catch (UserException e)
        {
            throw new UserException($"{e.Message} It is left as it is; name another file, or move it away.", e);
        }
        catch (IOException e)
        {
            throw Failure(path, e);
        }
    }

    /// <summary>Makes the folder and finds out whether a file can be written there, before hours are spent on it.</summary>
    /// <exception cref="UserException">It cannot.</exception>
    internal static void Probe(string path)
    {
        try
        {
            (FileStream stream, string temporary) = CreateTemporary(path);
            stream.Dispose();
            File.Delete(temporary);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Failure(path, e);
        }
    }

    /// <summary>
    /// Lets <paramref name="write"/> write a temporary file beside <paramref name="path"/>, forces it to the disk and renames it.
    /// Whatever fails on the way, the old file stays and the temporary one is removed.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="recognise">Reads a file and throws if it is not of this kind.</param>
    /// <param name="write">Writes the new content.</param>
    /// <param name="keepAs">Takes the old file, if there is one; a file of ours there is replaced.</param>
    /// <exception cref="UserException">Something that is not ours stands there, or the operating system refuses it.</exception>
    internal static void Write(string path, Action<string> recognise, Action<Stream> write, string? keepAs = null)
    {
        Exists(path, recognise);
        string? temporary = null;
        try
        {
            (FileStream stream, temporary) = CreateTemporary(path);
            using (stream)
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }

            // Writing took its time: what stands there now?
            bool replaces = Exists(path, recognise);
            if (replaces && keepAs is not null)
            {
                File.Move(path, keepAs, overwrite: Exists(keepAs, recognise));
                replaces = false;
            }

            File.Move(temporary, path, overwrite: replaces);
            temporary = null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Failure(path, e);
        }
        catch (ArgumentOutOfRangeException e)
        {
            throw Failure(path, new IOException("it would be larger than its file system or the limit of this process allows.", e));
        }
        finally
        {
            if (temporary is not null) TryDelete(temporary);
        }
    }

    // Exclusive and of a random name: it is nobody else's file, and no link that somebody has laid out.
    private static (FileStream Stream, string Path) CreateTemporary(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        string temporary = $"{path}.{Path.GetRandomFileName()[..8]}.tmp";
        return (new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 20), temporary);
    }

    private static void TryDelete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The folder is gone or has become read-only; the exception on its way says so.
        }
    }

    private static UserException Failure(string path, Exception e) => new($"--checkpoint: {path} cannot be written: {e.Message}", e);
}
