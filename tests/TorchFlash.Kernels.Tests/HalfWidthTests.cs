using System.Runtime.Intrinsics;
using TorchFlash.Kernels.Cpu.Assembled;
using TorchFlash.Kernels.Cpu.Lanes;
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
        {
            Check(Widened<Lanes512<float>, Vector512<float>>(type, patterns, length));
            Check(Widened<Lanes256<float>, Vector256<float>>(type, patterns, length));
            Check(Widened<Lanes128<float>, Vector128<float>>(type, patterns, length));
            Check(Widened<Lanes1<float>, float>(type, patterns, length)); // Without assembled code.
        }

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

    /// <summary>Pairs of rounded elements, one row of zeros or none, by assembled code where there is any and without.</summary>
    [Fact]
    public void RoundsPairs()
    {
        float[] low = new float[96], high = new float[96];
        for (int k = 0; k < 96; k++)
            (low[k], high[k]) = (MathF.Sin(k) * MathF.Pow(10, k % 60 - 30), k % 17 == 0 ? float.NaN : MathF.Cos(k));
        ushort[] a = Narrowed(ElementType.BFloat16, low, 1, 96), b = Narrowed(ElementType.BFloat16, high, 1, 96), rounded = new ushort[96];
        uint[] pairs = new uint[96], without = new uint[96];
        fixed (float* l = low, h = high)
        fixed (uint* p = pairs, w = without)
        fixed (ushort* r = rounded)
        {
            HalfWidth.RoundPairs(l, h, p, 96);
            HalfWidth.Round(l, r, 96);
            Assert.Equal(a.Zip(b, (x, y) => x | (uint)y << 16), pairs);
            Assert.Equal(a, rounded);
            HalfWidth.RoundPairs(l, null, w, 96);
            Assert.Equal(a.Select(x => (uint)x), without);
            HalfWidth.RoundPairs(null, h, w, 96);
            Assert.Equal(b.Select(x => (uint)x << 16), without);
        }
    }

    /// <summary>What the processor has is what is taken.</summary>
    [Fact]
    public void AssembledWhereThereAreInstructions()
    {
        bool isOn = Environment.GetEnvironmentVariable(PairTile.Switch) != "0" && System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture == System.Runtime.InteropServices.Architecture.X64;
        Assert.Equal(isOn && System.Runtime.Intrinsics.X86.Avx2.IsSupported, Conversions.WidenFloat16 is not null && Conversions.NarrowFloat16 is not null);
        Assert.Equal(PairTile.Instance.Refusal is null, Conversions.Rounding is not null);
        Assert.Equal(PairTile.Instance.Refusal is null, Conversions.PairRounding is not null);
    }

    /// <summary>Where there is no assembled code for float16, the description says why.</summary>
    [Fact]
    public void WhatIsNotAssembledSaysWhy()
    {
        Assert.Equal(Conversions.WidenFloat16 is null, Conversions.Describe().StartsWith("float16 converted by integers: ", StringComparison.Ordinal));
        Assert.Equal("float16 converted by integers: TORCHFLASH_ASSEMBLED is 0", Conversions.Describe(Conversions.LoadWidening("0").Refusal));
        if (Conversions.WidenFloat16 is null)
            return;
        Conversions.Routine refused = Conversions.LoadWidening(null, makeExecutable: (_, _) => false);
        Assert.Null(refused.Code);
        Assert.Contains("integers: the system allows no executable memory", Conversions.Describe(refused.Refusal), StringComparison.Ordinal);
    }

    private static float Exact(ElementType type, ushort bits) =>
        type == ElementType.BFloat16 ? BitConverter.UInt32BitsToSingle((uint)bits << 16) : (float)BitConverter.UInt16BitsToHalf(bits);

    private static float[] Widened<L, V>(ElementType type, ushort[] from, int length)
        where L : struct, ILanes<V, float>
        where V : struct
    {
        float[] to = new float[from.Length];
        fixed (ushort* f = from)
        fixed (float* t = to)
        {
            for (int x = 0; x < from.Length; x += length)
                HalfWidth.Widen<L, V, float>(type, f + x, t + x, Math.Min(length, from.Length - x));
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
