using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace TorchFlash.Kernels.Cpu.Assembled;

/// <summary>Whether this process may use the processor's matrix unit (AMX), which takes a permission.</summary>
internal static unsafe partial class Amx
{
    private const int TileData = 18; // state component; 17 is the configuration

    /// <summary>Null where it may, from here on; else why not.</summary>
    public static string? Refusal()
    {
        if (!OperatingSystem.IsLinux())
            return "AMX is used on Linux only";
        if ((~X86Base.CpuId(7, 0).Edx & (1 << 22 | 1 << 24)) != 0)
            return "no AMX-BF16";
        if ((~EnabledState() & 3UL << TileData - 1) != 0)
            return "the system does not keep AMX registers";
        const int archPrctl = 158, requestPermission = 0x1023;
        if (SystemCall(archPrctl, requestPermission, TileData) == 0)
            return null;
        return $"the system does not permit AMX ({Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())})";
    }

    /// <summary>XCR0: what the system saves when it switches threads.</summary>
    private static ulong EnabledState() => ((delegate* unmanaged[Cdecl]<ulong>)ExecutablePages.Load(StateCode()))();

    internal static byte[] StateCode()
    {
        var code = new Assembler(64);
        code.xor(ecx, ecx);
        code.xgetbv();
        code.shl(rdx, 32);
        code.or(rax, rdx);
        code.ret();
        using var bytes = new MemoryStream();
        code.Assemble(new StreamCodeWriter(bytes), 0);
        return bytes.ToArray();
    }

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint SystemCall(nint number, nint first, nint second);
}
