using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace TorchFlash.Kernels.Cpu.Assembled;

/// <summary>Every tile on small products before first use, bit for bit against the definition of its arithmetic.</summary>
internal static unsafe class PairTileCheck
{
    /// <summary>Null, or what is wrong.</summary>
    public static string? Run(PairTile tile)
    {
        const int blocks = 2, rows = blocks * PairTileCode.Rows, most = 7, width = PairTileCode.MostRegisters * PairTile.Lanes;
        uint[] a = Pairs(rows * most, 1), b = Pairs(most * width, 2);
        float[] before = [.. Enumerable.Range(0, rows * width).Select(i => i * 0.37f - 11)], c = new float[rows * width];
        fixed (uint* pa = a, pb = b)
        fixed (float* pc = c)
        {
            for (int registers = 1; registers <= PairTileCode.MostRegisters; registers++)
            {
                foreach (int depth in (ReadOnlySpan<int>)[0, 1, most])
                {
                    foreach (bool transposed in (ReadOnlySpan<bool>)[false, true])
                    {
                        (nint rs, nint ks) = transposed ? ((nint)1, rows) : (most, 1);
                        before.CopyTo(c, 0);
                        tile.Run(registers, pa, rs, ks, pb, width, pc, width, depth, blocks, add: transposed);
                        for (int i = 0; i < c.Length; i++)
                        {
                            float sum = 0;
                            for (int k = 0; k < depth; k++)
                                sum = MultiplyAdd(sum, b[k * width + i % width], a[i / width * rs + k * ks]);
                            float expected = i % width >= registers * PairTile.Lanes ? before[i] : transposed ? sum + before[i] : sum;
                            if (BitConverter.SingleToInt32Bits(c[i]) != BitConverter.SingleToInt32Bits(expected))
                                return $"{registers} registers, depth {depth}: {c[i]:R} at row {i / width}, column {i % width} instead of {expected:R}";
                        }
                    }
                }
            }
        }
        return null;
    }

    /// <summary>The same of the AMX tile; null, or what is wrong.</summary>
    public static string? RunAmx(PairTile tile)
    {
        const int groups = 2, rows = groups * AmxCode.Rows, depth = 2 * AmxCode.Step;
        uint[] a = Pairs(rows * depth, 3), b = Pairs(depth * AmxCode.Columns, 4);
        float[] c = new float[rows * AmxCode.Columns];
        fixed (uint* pa = a, pb = b)
        fixed (float* pc = c)
            tile.Run(AmxCode.Columns / PairTile.Lanes, pa, depth, 1, pb, AmxCode.Columns, pc, AmxCode.Columns, depth, rows / PairTileCode.Rows, add: false);
        for (int i = 0; i < c.Length; i++)
        {
            float expected = 0;
            for (int first = 0; first < depth; first += AmxCode.Step)
            {
                float low = 0, high = 0;
                for (int k = first; k < first + AmxCode.Step; k++)
                {
                    (uint x, uint y) = (a[i / AmxCode.Columns * depth + k], b[k * AmxCode.Columns + i % AmxCode.Columns]);
                    low = MathF.FusedMultiplyAdd(Low(x), Low(y), low);
                    high = MathF.FusedMultiplyAdd(High(x), High(y), high);
                }
                expected += low + high;
            }
            if (BitConverter.SingleToInt32Bits(c[i]) != BitConverter.SingleToInt32Bits(expected))
                return $"AMX: {c[i]:R} in row {i / AmxCode.Columns}, column {i % AmxCode.Columns} instead of {expected:R}";
        }
        return null;
    }

    /// <summary>VDPBF16PS where nothing is subnormal: the high elements first, each product fused with its sum.</summary>
    private static float MultiplyAdd(float sum, uint x, uint y) => MathF.FusedMultiplyAdd(Low(x), Low(y), MathF.FusedMultiplyAdd(High(x), High(y), sum));

    private static float High(uint pair) => BitConverter.UInt32BitsToSingle(pair & 0xFFFF0000);

    private static float Low(uint pair) => BitConverter.UInt32BitsToSingle(pair << 16);

    /// <summary>Numbers of either sign between 1/128 and 2: so far apart that sums of their products round, and the order counts.</summary>
    private static uint[] Pairs(int count, uint seed)
    {
        uint[] pairs = new uint[count];
        foreach (ref uint pair in pairs.AsSpan())
        {
            seed = seed * 1664525 + 1013904223;
            pair = (seed ^ seed >> 16) & 0x83FF83FF | 0x3C003C00;
        }
        return pairs;
    }
}
