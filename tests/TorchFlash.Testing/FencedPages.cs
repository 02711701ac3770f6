using System.Runtime.InteropServices;

namespace TorchFlash.Testing;

/// <summary>
/// Whole pages of memory between two pages that may not be touched: a read beyond either end ends the process, as it might
/// at a user's. Where the operating system is not Linux, plain memory.
/// </summary>
internal sealed unsafe partial class FencedPages : IDisposable
{
    private const int ReadWrite = 3, PrivateAnonymous = 0x22;

    private readonly byte* _mapping;

    public FencedPages(nint bytes)
    {
        nint page = Environment.SystemPageSize;
        Bytes = (bytes + page - 1) / page * page;
        if (!OperatingSystem.IsLinux())
        {
            Start = _mapping = (byte*)NativeMemory.AlignedAlloc((nuint)Bytes, (nuint)page);
            return;
        }
        _mapping = (byte*)Map(0, Bytes + 2 * page, 0, PrivateAnonymous, -1, 0);
        Start = _mapping + page;
        if ((nint)_mapping == -1 || Protect((nint)Start, Bytes, ReadWrite) != 0)
            throw new InvalidOperationException($"No memory map: error {Marshal.GetLastPInvokeError()}.");
    }

    /// <summary>First accessible byte.</summary>
    public byte* Start { get; }

    /// <summary>Number of accessible bytes, a multiple of the page.</summary>
    public nint Bytes { get; }

    public void Dispose()
    {
        if (OperatingSystem.IsLinux())
            _ = Unmap((nint)_mapping, Bytes + 2 * Environment.SystemPageSize);
        else
            NativeMemory.AlignedFree(_mapping);
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint Map(nint address, nint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    private static partial int Protect(nint address, nint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int Unmap(nint address, nint length);
}
