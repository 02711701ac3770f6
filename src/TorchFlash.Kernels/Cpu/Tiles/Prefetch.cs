using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>
/// Brings rows of the next tile into the second-level cache while this one is computed: a tile is small against the work on it, but
/// read when it is needed it may come from memory at the pace of single misses. On the one processor tried (Zen 5) the hardware's own
/// prefetching left no gain to be seen.
/// </summary>
internal static unsafe class Prefetch
{
    private const int Line = 64;

    /// <summary>Rows first .. first + count - 1 of n that there are, d elements each. Nothing where there is no such instruction.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Rows<T>(Rows<T> x, int first, int count, int n, int d) where T : unmanaged
    {
        if (!Sse.IsSupported)
            return;
        int end = Math.Min(first + count, n);
        for (int r = first; r < end; r++)
        {
            byte* row = (byte*)x.At(r);
            for (nint offset = 0; offset < (nint)d * sizeof(T); offset += Line)
                Sse.Prefetch1(row + offset);
        }
    }
}
