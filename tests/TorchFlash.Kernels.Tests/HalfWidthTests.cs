using TorchFlash.Kernels.Cpu.Tiles;

namespace TorchFlash.Kernels.Tests;

/// <summary>Conversions between 16-bit types and float: every pattern, and everything around the borders of rounding.</summary>
public unsafe class HalfWidthTests
{
    private static readonly int[] Lengths = [1, 3, 7, 8, 15, 16, 17, 31, 33, 64, 100];

    public static TheoryData<ElementType> Types => [ElementType.BFloat16, ElementType.Float16];

    [Theory]
    [MemberData(nameof(Types))]
    public void EveryPatternIsWidenedExactly(ElementType type)
    {
        ushort[] patterns = [.. Enumerable.Range(0, 65536).Select(bits => (ushort)bits)];
        foreach (int length in Lengths)
            Check(Widened(type, patterns, length));

        void Check(float[] actual)
        {
            foreach (ushort bits in patterns)
            {
                float expected = Exact(type, bits);
                Assert.True(float.IsNaN(expected) ? float.IsNaN(actual[bits]) : BitConverter.SingleToInt32Bits(expected) == BitConverter.SingleToInt32Bits(actual[bits]),
                    $"{type} {bits:X4} became {actual[bits]:R} instead of {expected:R}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void RoundsToNearestTiesToEven(ElementType type)
    {
        var values = new List<(float Value, ushort Expected)>();
        for (int bits = 0; bits < 0x7FFF; bits++)
        {
            float value = Exact(type, (ushort)bits), next = Exact(type, (ushort)(bits + 1));
            if (!float.IsFinite(value))
            {
                values.Add((value, (ushort)bits));
                continue;
            }
            // Where the next one would be if there were no infinity.
            double above = float.IsFinite(next) ? next : 2.0 * value - Exact(type, (ushort)(bits - 1));
            float middle = (float)((value + above) / 2);
            values.Add((value, (ushort)bits));
            values.Add((float.BitDecrement(middle), (ushort)bits));
            values.Add((middle, (ushort)(bits + (bits & 1))));
            values.Add((float.BitIncrement(middle), (ushort)(bits + 1)));
        }
        values.Add((float.MaxValue, (ushort)(type == ElementType.BFloat16 ? 0x7F80 : 0x7C00)));
        values.Add((float.Epsilon, 0));
        values.AddRange([.. values.Select(x => (-x.Value, (ushort)(x.Expected | 0x8000)))]);

        float[] from = [.. values.Select(x => x.Value)];
        foreach (int length in Lengths)
        {
            ushort[] actual = Narrowed(type, from, 1, length);
            for (int k = 0; k < from.Length; k++)
            {
                Assert.True(float.IsNaN(from[k]) ? float.IsNaN(Exact(type, actual[k])) : values[k].Expected == actual[k],
                    $"{from[k]:R} became {actual[k]:X4} instead of {values[k].Expected:X4}");
            }
        }
    }

    /// <summary>As NaN may be of any bits.</summary>
    [Theory]
    [MemberData(nameof(Types))]
    public void NaNStaysNaN(ElementType type)
    {
        float[] nans = [.. new uint[] { 0x7F800001, 0x7FBFFFFF, 0x7FC00000, 0x7FFFFFFF, 0x7F801000, 0xFF800001, 0xFFFFFFFF, 0xFFC01234 }.Select(BitConverter.UInt32BitsToSingle)];
        foreach (int length in new[] { 1, 8, 16 })
            Assert.All(Narrowed(type, [.. nans, .. nans], 1, length), bits => Assert.True(float.IsNaN(Exact(type, bits)), $"{bits:X4}"));
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void TheFactorComesBeforeTheRounding(ElementType type)
    {
        float[] values = [.. Enumerable.Range(0, 100).Select(k => MathF.Sin(k) * 1000)];
        Assert.Equal(Narrowed(type, [.. values.Select(x => x * 0.3f)], 1, 100), Narrowed(type, values, 0.3f, 100));
    }

    private static float Exact(ElementType type, ushort bits) =>
        type == ElementType.BFloat16 ? BitConverter.UInt32BitsToSingle((uint)bits << 16) : (float)BitConverter.UInt16BitsToHalf(bits);

    private static float[] Widened(ElementType type, ushort[] from, int length)
    {
        float[] to = new float[from.Length];
        fixed (ushort* f = from)
        fixed (float* t = to)
        {
            for (int x = 0; x < from.Length; x += length)
                HalfWidth.Widen(type, f + x, t + x, Math.Min(length, from.Length - x));
        }
        return to;
    }

    private static ushort[] Narrowed(ElementType type, float[] from, float factor, int length)
    {
        ushort[] to = new ushort[from.Length];
        fixed (float* f = from)
        fixed (ushort* t = to)
        {
            for (int x = 0; x < from.Length; x += length)
                HalfWidth.Narrow(type, f + x, factor, t + x, Math.Min(length, from.Length - x));
        }
        return to;
    }
}
