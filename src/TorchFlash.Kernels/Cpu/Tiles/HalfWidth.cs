using System.Numerics;
using System.Runtime.CompilerServices;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>
/// Rows of 16-bit elements to float, which is exact, and back, to nearest with ties to even: too large is infinite, NaN stays NaN. By
/// integers, as .NET has instructions for neither type, in <see cref="Vector{T}"/>, as a row is converted once for hundreds of
/// multiply-adds with it: the width does not matter here, nor do the results depend on it.
/// </summary>
internal static unsafe class HalfWidth
{
    /// <summary>to = from, n elements.</summary>
    public static void Widen(ElementType type, ushort* from, float* to, int n)
    {
        if (type == ElementType.BFloat16)
            Widen<BFloat16>(from, to, n);
        else
            Widen<Float16>(from, to, n);
    }

    /// <summary>to = factor from, n elements.</summary>
    public static void Narrow(ElementType type, float* from, float factor, ushort* to, int n)
    {
        if (type == ElementType.BFloat16)
            Narrow<BFloat16>(from, factor, to, n);
        else
            Narrow<Float16>(from, factor, to, n);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Widen<F>(ushort* from, float* to, int n) where F : struct, IFormat
    {
        int x = 0;
        if (Vector.IsHardwareAccelerated && n >= Vector<ushort>.Count)
        {
            for (; ; x = Math.Min(x + Vector<ushort>.Count, n - Vector<ushort>.Count)) // The last ones together with some before them once more.
            {
                Vector.Widen(Vector.Load(from + x), out Vector<uint> low, out Vector<uint> high);
                F.Widen(low).Store(to + x);
                F.Widen(high).Store(to + x + Vector<uint>.Count);
                if (x == n - Vector<ushort>.Count)
                    return;
            }
        }
        for (; x < n; x++)
            to[x] = F.Widen(from[x]);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
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
        static abstract Vector<float> Widen(Vector<uint> bits);

        static abstract float Widen(ushort bits);

        static abstract Vector<uint> Narrow(Vector<float> value);

        static abstract ushort Narrow(float value);
    }

    private readonly struct BFloat16 : IFormat
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<float> Widen(Vector<uint> bits) => Vector.AsVectorSingle(bits << 16);

        public static float Widen(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);

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
            Vector<uint> sign = (bits & Vector.Create(0x8000u)) << 16, magnitude = (bits & Vector.Create(0x7FFFu)) << 13, normal = magnitude + Vector.Create(Rebias);
            // Subnormal: behind the fraction's leading one, which is then taken away. Not a number of its own exponent: the largest one there is.
            Vector<float> subnormal = Vector.AsVectorSingle(normal + Vector.Create(1u << 23)) - Vector.Create(BitConverter.UInt32BitsToSingle(Rebias + (1u << 23)));
            Vector<uint> finite = Vector.ConditionalSelect(Vector.LessThan(magnitude, Vector.Create(1u << 23)), Vector.AsVectorUInt32(subnormal), normal);
            return Vector.AsVectorSingle(finite | sign | Vector.GreaterThanOrEqual(magnitude, Vector.Create(0x7C00u << 13)) & Vector.Create(0x7F800000u));
        }

        public static float Widen(ushort bits) => (float)BitConverter.UInt16BitsToHalf(bits);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector<uint> Narrow(Vector<float> value)
        {
            Vector<uint> bits = Vector.AsVectorUInt32(value), magnitude = bits & Vector.Create(0x7FFFFFFFu);
            // Everything from 65536 on, and the addition of a half whose last digit is that of a subnormal Half rounds as the processor does.
            Vector<uint> clamped = Vector.Min(magnitude, Vector.Create(127 + 16u << 23));
            Vector<uint> normal = clamped + (clamped >> 13 & Vector<uint>.One) + Vector.Create(0xFFFu) - Vector.Create(Rebias) >> 13;
            Vector<uint> subnormal = Vector.AsVectorUInt32(Vector.AsVectorSingle(magnitude) + Vector.Create(0.5f)) - Vector.Create(126u << 23);
            Vector<uint> number = Vector.ConditionalSelect(Vector.LessThan(magnitude, Vector.Create(Rebias + (1u << 23))), subnormal, normal);
            Vector<uint> nan = magnitude >> 13 & Vector.Create(0x3FFu) | Vector.Create(0x7E00u);
            return Vector.ConditionalSelect(Vector.AsVectorUInt32(Vector.Equals(value, value)), number, nan) | bits >> 16 & Vector.Create(0x8000u);
        }

        public static ushort Narrow(float value) => BitConverter.HalfToUInt16Bits((Half)value);
    }
}
