using System.ComponentModel;
using System.Runtime.InteropServices;

namespace TorchFlash.Kernels.Cpu.Assembled;

/// <summary>
/// Memory for assembled code: written first, then executable and read-only, never both at once. Systems that allow no new executable
/// memory refuse the second step, and say so in the exception.
/// </summary>
internal static unsafe partial class ExecutablePages
{
    /// <summary>A copy of the code that can be called, for the rest of the process.</summary>
    /// <exception cref="Win32Exception">The system allows no memory, or no executable memory.</exception>
    public static byte* Load(ReadOnlySpan<byte> code, Func<nint, nint, bool>? makeExecutable = null)
    {
        makeExecutable ??= MakeExecutable;
        nint bytes = (code.Length + Environment.SystemPageSize - 1) / Environment.SystemPageSize * Environment.SystemPageSize;
        byte* pages = OperatingSystem.IsWindows() ? Windows.Allocate(bytes) : Unix.Allocate(bytes);
        if (pages == null)
            throw Error("memory for code");
        code.CopyTo(new Span<byte>(pages, code.Length));
        if (makeExecutable((nint)pages, bytes))
            return pages;
        Win32Exception error = Error("executable memory");
        if (OperatingSystem.IsWindows())
            Windows.Free(pages);
        else
            Unix.Free(pages, bytes);
        throw error;
    }

    /// <summary>From readable and writable to readable and executable.</summary>
    internal static bool MakeExecutable(nint pages, nint bytes) => OperatingSystem.IsWindows() ? Windows.MakeExecutable(pages, bytes) : Unix.MakeExecutable(pages, bytes);

    private static Win32Exception Error(string what)
    {
        int code = Marshal.GetLastPInvokeError();
        return new Win32Exception(code, $"the system allows no {what} ({Marshal.GetPInvokeErrorMessage(code)})");
    }

    private static partial class Unix
    {
        private const int Read = 1, Write = 2, Execute = 4, Private = 2;

        public static byte* Allocate(nint bytes)
        {
            int anonymous = OperatingSystem.IsMacOS() ? 0x1000 : 0x20;
            nint pages = Map(0, bytes, Read | Write, Private | anonymous, -1, 0);
            return pages == -1 ? null : (byte*)pages;
        }

        public static bool MakeExecutable(nint pages, nint bytes) => Protect(pages, bytes, Read | Execute) == 0;

        public static void Free(byte* pages, nint bytes) => _ = Unmap((nint)pages, bytes);

        [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
        private static partial nint Map(nint address, nint length, int protection, int flags, int file, nint offset);

        [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
        private static partial int Protect(nint address, nint length, int protection);

        [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
        private static partial int Unmap(nint address, nint length);
    }

    private static partial class Windows
    {
        private const uint Commit = 0x1000, Reserve = 0x2000, Release = 0x8000, ReadWrite = 4, ReadExecute = 0x20;

        public static byte* Allocate(nint bytes) => (byte*)VirtualAlloc(0, bytes, Commit | Reserve, ReadWrite);

        public static bool MakeExecutable(nint pages, nint bytes)
            => VirtualProtect(pages, bytes, ReadExecute, out _) && FlushInstructionCache(-1, pages, bytes);

        public static void Free(byte* pages) => VirtualFree((nint)pages, 0, Release);

        [LibraryImport("kernel32", SetLastError = true)]
        private static partial nint VirtualAlloc(nint address, nint size, uint type, uint protection);

        [LibraryImport("kernel32", SetLastError = true)]
        [return: MarshalAs(UnmanagedType.Bool)]
        private static partial bool VirtualProtect(nint address, nint size, uint protection, out uint before);

        [LibraryImport("kernel32", SetLastError = true)]
        [return: MarshalAs(UnmanagedType.Bool)]
        private static partial bool FlushInstructionCache(nint process, nint address, nint size);

        [LibraryImport("kernel32", SetLastError = true)]
        [return: MarshalAs(UnmanagedType.Bool)]
        private static partial bool VirtualFree(nint address, nint size, uint type);
    }
}
