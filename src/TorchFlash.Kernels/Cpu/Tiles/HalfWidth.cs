using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Assembled;
using TorchFlash.Kernels.Cpu.Lanes;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>
/// Rows of 16-bit elements to float, which is exact, and back, to nearest with ties to even: too large is infinite, NaN stays NaN. Where
/// the processor has instructions for it and .NET does not, by <see cref="Conversions"/>; else by integers, in <see cref="Vector{T}"/>: results
/// do not depend on its width.
/// </summary>
internal static unsafe class HalfWidth
{
    /// <summary>to = from, n elements.</summary>
    public static void Widen<L, V, T>(ElementType type, ushort* from, T* to, int n)
        where L : struct, ILanes<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        if (type == ElementType.BFloat16)
            WidenBFloat16<L, V, T>(from, to, n);
        else if (L.Count > 1 && n >= ConversionCode.Lanes && Conversions.WidenFloat16 is { } conversions)
        {
            int whole = n / ConversionCode.Lanes * ConversionCode.Lanes;
            conversions.Run(from, to, whole);
            if (whole < n) // The last ones together with some before them once more.
                conversions.Run(from + n - ConversionCode.Lanes, to + n - ConversionCode.Lanes, ConversionCode.Lanes);
        }
        else
            WidenFloat16(from, (float*)to, n);
    }

    [MethodImpl(Jit.Alone)]
    private static void WidenBFloat16<L, V, T>(ushort* from, T* to, int n)
        where L : struct, ILanes<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        int x = 0;
        for (; x + L.Count <= n; x += L.Count)
            L.Store(to + x, L.LoadBFloat16(from + x));
        if (x < n && n >= L.Count)
            L.Store(to + n - L.Count, L.LoadBFloat16(from + n - L.Count));
        for (; x < n && n < L.Count; x++)
            *((float*)to + x) = BitConverter.UInt32BitsToSingle((uint)from[x] << 16);
    }

    [MethodImpl(Jit.Alone)]
    private static void WidenFloat16(ushort* from, float* to, int n)
    {
        int x = 0;
        if (Vector.IsHardwareAccelerated && n >= Vector<ushort>.Count)
        {
            for (; ; x = Math.Min(x + Vector<ushort>.Count, n - Vector<ushort>.Count))
            {
                Vector.Widen(Vector.Load(from + x), out Vector<uint> low, out Vector<uint> high);
                Float16.Widen(low).Store(to + x);
                Float16.Widen(high).Store(to + x + Vector<uint>.Count);
                if (x == n - Vector<ushort>.Count)
                    return;
            }
        }
        for (; x < n; x++)
            to[x] = (float)BitConverter.UInt16BitsToHalf(from[x]);
    }

    /// <summary>to = factor from, n elements.</summary>
    public static void Narrow(ElementType type, float* from, float factor, ushort* to, int n)
    {
        if (type == ElementType.BFloat16)
            Narrow<BFloat16>(from, factor, to, n);
        else if (n >= ConversionCode.Lanes && Conversions.NarrowFloat16 is { } conversions)
        {
            int whole = n / ConversionCode.Lanes * ConversionCode.Lanes;
            conversions.Run(from, to, whole, &factor);
            if (whole < n)
                conversions.Run(from + n - ConversionCode.Lanes, to + n - ConversionCode.Lanes, ConversionCode.Lanes, &factor);
        }
        else
            Narrow<Float16>(from, factor, to, n);
    }

    /// <summary>x = -x, or 0 x (NaN where x is not finite), n numbers of bfloat16.</summary>
    public static void MultiplyBySign(ushort* x, bool isNegative, int n)
    {
        for (int k = 0; k < n; k++)
            x[k] = (ushort)(isNegative ? x[k] ^ 0x8000 : (x[k] & 0x7F80) == 0x7F80 ? 0x7FC0 : 0);
    }

    /// <summary>Words of an element of one row in their low halves and of another's in their high ones; null: of zeros.</summary>
    [MethodImpl(Jit.Alone)]
    public static void Pair(ushort* low, ushort* high, uint* to, int n)
    {
        int x = 0;
        for (; x + Vector<ushort>.Count <= n && Vector.IsHardwareAccelerated; x += Vector<ushort>.Count)
        {
            Vector.Widen(Vector.Load(low + x), out Vector<uint> a0, out Vector<uint> a1);
            Vector.Widen(high == null ? Vector<ushort>.Zero : Vector.Load(high + x), out Vector<uint> b0, out Vector<uint> b1);
            (a0 | b0 << 16).Store(to + x);
            (a1 | b1 << 16).Store(to + x + Vector<uint>.Count);
        }
        for (; x < n; x++)
            to[x] = low[x] | (high == null ? 0 : (uint)high[x] << 16);
    }

    /// <summary>The same of float rounded to bfloat16; n whole registers of 512 bits.</summary>
    [MethodImpl(Jit.Alone)]
    public static void RoundPairs(float* low, float* high, uint* to, int n)
    {
        if (low != null && high != null && Conversions.PairRounding is { } conversions)
        {
            conversions.Run(low, high, to, n);
            return;
        }
        for (int x = 0; x < n; x += Vector<uint>.Count)
        {
            Vector<uint> a = low == null ? Vector<uint>.Zero : BFloat16.Narrow(Vector.Load(low + x));
            Vector<uint> b = high == null ? Vector<uint>.Zero : BFloat16.Narrow(Vector.Load(high + x));
            (a | b << 16).Store(to + x);
        }
    }

    /// <summary>to = from rounded to bfloat16; n whole registers of 512 bits.</summary>
    public static void Round(float* from, ushort* to, int n)
    {
        if (Conversions.Rounding is { } conversions)
            conversions.Run(from, to, n);
        else
            Narrow<BFloat16>(from, 1, to, n);
    }

    [MethodImpl(Jit.Alone)]
    private static void Narrow<F>(float* from, float factor, ushort* to, int n) where F : struct, IFormat
    {
        int x = 0;
        if (Vector.IsHardwareAccelerated && n >= Vector<ushort>.Count)
        {
            for (; ; x = Math.Min(x + Vector<ushort>.Count, n - Vector<ushort>.Count))
            {
                Vector<uint> low = F.Narrow(Vector.Load(from + x) * factor), high = F.Narrow(Vector.Load(from + x + Vector<uint>.Count) * factor);
                Vector.Narrow(low, high).Store(to + x);
                if (x == n - Vector<ushort>.Count)
                    return;
            }
        }
        for (; x < n; x++)
            to[x] = F.Narrow(from[x] * factor);
    }

    /// <summary>A 16-bit type, in the low halves of words.</summary>
    private interface IFormat
    {
        static abstract Vector<uint> Narrow(Vector<float> value);

        static abstract ushort Narrow(float value);
    }

    private readonly struct BFloat16 : IFormat
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<uint> Narrow(Vector<float> value)
        {
            Vector<uint> bits = Vector.AsVectorUInt32(value), rounded = bits + (bits >> 16 & Vector<uint>.One) + Vector.Create(0x7FFFu);
            return Vector.ConditionalSelect(Vector.AsVectorUInt32(Vector.Equals(value, value)), rounded, bits | Vector.Create(0x400000u)) >> 16;
        }

        public static ushort Narrow(float value)
        {
            uint bits = BitConverter.SingleToUInt32Bits(value);
            return (ushort)((float.IsNaN(value) ? bits | 0x400000 : bits + (bits >> 16 & 1) + 0x7FFF) >> 16);
        }
    }

    private readonly struct Float16 : IFormat
    {
        /// <summary>From the exponent of a Half to that of a float, of which it has the upper part.</summary>
        private const uint Rebias = 127 - 15 << 23;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<float> Widen(Vector<uint> bits)
        {
            Vector<uint> magnitude = (bits & Vector.Create(0x7FFFu)) << 13, sign = (bits & Vector.Create(0x8000u)) << 16, normal = magnitude + Vector.Create(Rebias);
            // Subnormal: behind the fraction's leading one, which is then taken away. Not finite: of the largest exponent.
            Vector<float> subnormal = Vector.AsVectorSingle(normal + Vector.Create(1u << 23)) - Vector.Create(BitConverter.UInt32BitsToSingle(Rebias + (1u << 23)));
            Vector<uint> finite = Vector.ConditionalSelect(Less(magnitude, 1 << 23), Vector.AsVectorUInt32(subnormal), normal);
            return Vector.AsVectorSingle(finite | sign | Vector.AndNot(Vector.Create(0x7F800000u), Less(magnitude, 0x7C00 << 13)));
        }

        /// <summary>Of numbers that are positive as int, which is what vectors can compare everywhere.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector<uint> Less(Vector<uint> x, int bound) => Vector.AsVectorUInt32(Vector.LessThan(Vector.AsVectorInt32(x), Vector.Create(bound)));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<uint> Narrow(Vector<float> value)
        {
            Vector<uint> bits = Vector.AsVectorUInt32(value), magnitude = bits & Vector.Create(0x7FFFFFFFu);
            // Everything from 65536 on, and the addition of a half whose last digit is that of a subnormal Half rounds as the processor does.
            Vector<uint> clamped = Vector.AsVectorUInt32(Vector.Min(Vector.AsVectorInt32(magnitude), Vector.Create(127 + 16 << 23)));
            Vector<uint> normal = clamped + (clamped >> 13 & Vector<uint>.One) + Vector.Create(0xFFFu) - Vector.Create(Rebias) >> 13;
            Vector<uint> subnormal = Vector.AsVectorUInt32(Vector.AsVectorSingle(magnitude) + Vector.Create(0.5f)) - Vector.Create(126u << 23);
            Vector<uint> number = Vector.ConditionalSelect(Less(magnitude, (int)Rebias + (1 << 23)), subnormal, normal);
            Vector<uint> nan = magnitude >> 13 & Vector.Create(0x3FFu) | Vector.Create(0x7E00u);
            return Vector.ConditionalSelect(Vector.AsVectorUInt32(Vector.Equals(value, value)), number, nan) | bits >> 16 & Vector.Create(0x8000u);
        }

        public static ushort Narrow(float value) => BitConverter.HalfToUInt16Bits((Half)value);
    }
}
