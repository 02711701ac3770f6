using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Gpt2;

/// <summary>Something the user can put right. The message, one line, says what; the program prints it without a stack trace.</summary>
public sealed class UserException(string message, Exception? inner = null) : Exception(OneLine(message), inner)
{
    private const int MaximumLength = 5000; // a path has up to 4096

    /// <summary>The text without line breaks and control characters: a damaged file's content must not command the terminal.</summary>
    public static string OneLine(string text)
    {
        string start = text.Length <= MaximumLength ? text : text[..MaximumLength] + "...";
        return string.Concat(start.Select(c => char.IsControl(c) || c is '\u2028' or '\u2029' ? ' ' : c));
    }
}

/// <summary>What a name in a folder stands for.</summary>
internal enum FileKind
{
    None,
    Regular,
    Folder,
    Link,

    /// <summary>A pipe, a socket or a device.</summary>
    Other,
}

/// <summary>Files in the plain sense. Everything else is told apart without opening it: a pipe would wait, a device might act.</summary>
internal static class RegularFile
{
    /// <summary>Opens a file to read it; links are followed.</summary>
    /// <param name="path">The file.</param>
    /// <param name="what">What it is for, as messages begin: <c>--data</c>.</param>
    /// <exception cref="UserException">There is none, it is not a regular one, or the operating system refuses it.</exception>
    internal static FileStream OpenRead(string path, string what)
    {
        try
        {
            return Kind(path, followLink: true) switch
            {
                FileKind.Regular => File.OpenRead(path),
                FileKind.None => throw new UserException($"{what}: there is no file '{path}'."),
                var kind => throw new UserException($"{what}: {path} is {Describe(kind)}; name a file."),
            };
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{what}: cannot read {path}: {e.Message}", e);
        }
    }

    internal static string Describe(FileKind kind) => kind switch
    {
        FileKind.Folder => "a folder",
        FileKind.Link => "a symbolic link",
        FileKind.Other => "a pipe, a socket or a device",
        _ => "a file",
    };

    /// <exception cref="IOException">The operating system does not say.</exception>
    internal static FileKind Kind(string path, bool followLink)
    {
        if (OperatingSystem.IsLinux()) return LinuxKind(path, followLink);
        var file = new FileInfo(path);
        if (!followLink && file.LinkTarget is not null) return FileKind.Link;
        return file.Exists ? FileKind.Regular : Directory.Exists(path) ? FileKind.Folder : FileKind.None;
    }

    // The base class library tells folders and links, but not pipes and devices, from files. Of statx's structure, the
    // same on every processor, bytes 28 and 29 are the mode; its upper four bits are the kind.
    private static FileKind LinuxKind(string path, bool followLink)
    {
        const int CurrentFolder = -100, NoFollow = 0x100, TypeWanted = 1, StructureSize = 256, ModeOffset = 28;
        const int NoEntry = 2, NotAFolder = 20;
        var status = new byte[StructureSize];
        if (statx(CurrentFolder, path, followLink ? 0 : NoFollow, TypeWanted, status) == 0)
        {
            return (BinaryPrimitives.ReadUInt16LittleEndian(status.AsSpan(ModeOffset)) >> 12) switch
            {
                8 => FileKind.Regular,
                4 => FileKind.Folder,
                10 => FileKind.Link,
                _ => FileKind.Other,
            };
        }

        int error = Marshal.GetLastPInvokeError();
        return error is NoEntry or NotAFolder ? FileKind.None : throw new IOException(Marshal.GetPInvokeErrorMessage(error));
    }

    [DllImport("libc", SetLastError = true)]
    private static extern int statx(int folder, [MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags, uint mask, byte[] status);
}

/// <summary>
/// Replaces files as a whole, and only the program's own ones. After a crash at any moment the old or the new content is
/// there, never a part. A file of another kind or origin, told by its content, is refused by name; no link is followed.
/// </summary>
internal static class OwnFile
{
    /// <summary>Whether there is a file of ours at <paramref name="path"/>.</summary>
    /// <param name="path">The file.</param>
    /// <param name="recognise">Reads a file and throws a <see cref="UserException"/> if it is not of the wanted kind.</param>
    /// <param name="what">How messages begin.</param>
    /// <exception cref="UserException">Something else stands there.</exception>
    internal static bool Exists(string path, Action<string> recognise, string what = "--checkpoint")
    {
        try
        {
            FileKind kind = RegularFile.Kind(path, followLink: false);
            if (kind is not (FileKind.None or FileKind.Regular)) throw new UserException($"{what}: {path} is {RegularFile.Describe(kind)}.");
            if (kind == FileKind.Regular) recognise(path);
            return kind == FileKind.Regular;
        }
        catch (UserException e)
        {
            throw new UserException($"{e.Message} It is left as it is; name another file, or move it away.", e);
        }
        catch (IOException e)
        {
            throw Failure(path, what, e);
        }
    }

    /// <summary>Makes the folder and finds out whether a file can be written there, before hours are spent on it.</summary>
    /// <exception cref="UserException">It cannot.</exception>
    internal static void Probe(string path, string what = "--checkpoint")
    {
        try
        {
            (FileStream stream, string temporary) = CreateTemporary(path);
            stream.Dispose();
            File.Delete(temporary);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Failure(path, what, e);
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
    /// <param name="what">How messages begin.</param>
    /// <exception cref="UserException">Something that is not ours stands there, or the operating system refuses it.</exception>
    internal static void Write(string path, Action<string> recognise, Action<Stream> write, string? keepAs = null, string what = "--checkpoint")
    {
        Exists(path, recognise, what);
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
            bool replaces = Exists(path, recognise, what);
            if (replaces && keepAs is not null)
            {
                File.Move(path, keepAs, overwrite: Exists(keepAs, recognise, what));
                replaces = false;
            }

            File.Move(temporary, path, overwrite: replaces);
            temporary = null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Failure(path, what, e);
        }
        catch (ArgumentOutOfRangeException e)
        {
            throw Failure(path, what, new IOException("it would be larger than its file system or the limit of this process allows.", e));
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

    private static UserException Failure(string path, string what, Exception e) => new($"{what}: {path} cannot be written: {e.Message}", e);
}
