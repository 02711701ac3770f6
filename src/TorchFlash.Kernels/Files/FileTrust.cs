using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace TorchFlash.Kernels.Files;

/// <summary>
/// Whether nobody but this user can have written what lies in the file system: machine code is loaded from there. Links are not followed. On
/// Windows, where the folder of a user's caches is the user's by its access list, only links are refused.
/// </summary>
internal static unsafe partial class FileTrust
{
    private const int CurrentFolder = -100, NoFollow = 0x100, EmptyPath = 0x1000, NotThere = 2; // AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, ENOENT
    private const uint TypeModeAndOwner = 0x1 | 0x2 | 0x8; // STATX_TYPE | STATX_MODE | STATX_UID

    /// <summary>Whether there is such a folder or file.</summary>
    /// <exception cref="IOException">There is, but it is something else, or others can write it.</exception>
    public static bool IsThere(string path, bool isFolder)
    {
        if (!OperatingSystem.IsWindows())
            return Check(CurrentFolder, path, NoFollow, path, isFolder);
        FileSystemInfo info = isFolder ? new DirectoryInfo(path) : new FileInfo(path);
        return !info.Exists ? false
            : info.Attributes.HasFlag(FileAttributes.ReparsePoint) ? throw new IOException($"{path} is a link")
            : true;
    }

    /// <summary>Refuses an open file that others can write.</summary>
    /// <exception cref="IOException">They can.</exception>
    public static void Check(SafeFileHandle file, string path)
    {
        if (!OperatingSystem.IsWindows())
            Check((int)file.DangerousGetHandle(), "", EmptyPath, path, isFolder: false);
    }

    private static bool Check(int file, string relativePath, int flags, string path, bool isFolder)
    {
        const int typeMask = 0xF000, folder = 0x4000, regular = 0x8000, writableByOthers = 0x12; // 022
        Status status;
        if (StatX(file, relativePath, flags, TypeModeAndOwner, &status) != 0)
        {
            return Marshal.GetLastPInvokeError() == NotThere ? false
                : throw new IOException($"{path}: {Marshal.GetLastPInvokeErrorMessage()}");
        }
        if ((status.Mode & typeMask) != (isFolder ? folder : regular))
            throw new IOException($"{path} is not a {(isFolder ? "folder" : "file")}");
        if (status.User != EffectiveUser())
            throw new IOException($"{path} belongs to user {status.User}, not to user {EffectiveUser()}");
        if ((status.Mode & writableByOthers) != 0)
            throw new IOException($"{path} can be written by others (mode {Convert.ToString(status.Mode & 0xFFF, 8)})");
        return true;
    }

    /// <summary>The kernel's struct statx, the same on every architecture.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    private struct Status
    {
        [FieldOffset(20)]
        public uint User;

        [FieldOffset(28)]
        public ushort Mode;
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int StatX(int folder, string path, int flags, uint mask, Status* status);

    [LibraryImport("libc", EntryPoint = "geteuid")]
    private static partial uint EffectiveUser();
}
