using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Gpt2.Files;

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
