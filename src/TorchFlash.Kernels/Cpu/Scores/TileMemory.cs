using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace TorchFlash.Kernels.Cpu.Scores;

/// <summary>
/// What compiled tile programs call beyond the operations of Vector512, Vector256 and Vector128. <c>V</c> is a register of real numbers
/// <c>T</c>, <c>N</c> one of integers <c>I</c> as wide, or of truth values (all bits or none).
/// </summary>
internal static unsafe class TileMemory
{
    private const MethodImplOptions Inline = MethodImplOptions.AggressiveInlining, Optimize = MethodImplOptions.AggressiveOptimization;

    /// <summary>a / b to an ulp, for finite a and b that are not small.</summary>
    [MethodImpl(Inline)]
    public static Vector512<float> Quotient(Vector512<float> a, Vector512<float> b)
    {
        if (!Avx512F.IsSupported)
            return a / b;
        Vector512<float> r = Avx512F.Reciprocal14(b), q = a * r;
        return Avx512F.FusedMultiplyAdd(Avx512F.FusedMultiplyAddNegated(q, b, a), r, q);
    }

    /// <summary>Bytes, one a lane.</summary>
    [MethodImpl(Inline)]
    public static N Widen<N, I>(byte* p) where N : unmanaged where I : unmanaged, IBinaryInteger<I>
    {
        if (Avx512F.IsSupported && sizeof(N) == 64)
        {
            return sizeof(I) == 4 ? Unsafe.BitCast<Vector512<int>, N>(Avx512F.ConvertToVector512Int32(Vector128.Load(p)))
                : Unsafe.BitCast<Vector512<long>, N>(Avx512F.ConvertToVector512Int64(Vector128.CreateScalarUnsafe(*(ulong*)p).AsByte()));
        }
        if (Avx2.IsSupported && sizeof(N) == 32)
        {
            return sizeof(I) == 4 ? Unsafe.BitCast<Vector256<int>, N>(Avx2.ConvertToVector256Int32(p)) : Unsafe.BitCast<Vector256<long>, N>(Avx2.ConvertToVector256Int64(p));
        }
        if (sizeof(N) == 16 && sizeof(I) == 4)
            return Unsafe.BitCast<Vector128<uint>, N>(Vector128.WidenLower(Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(uint*)p).AsByte())));
        return sizeof(N) == 16 ? Unsafe.BitCast<Vector128<long>, N>(Vector128.Create((long)p[0], p[1])) : Elements<N, byte, I>(p, 1, sizeof(N) / sizeof(I));
    }

    /// <summary>p[k stride] in the first n lanes.</summary>
    [MethodImpl(Optimize)]
    public static R Elements<R, E, I>(E* p, nint stride, int n) where R : unmanaged where E : unmanaged, INumberBase<E> where I : unmanaged, INumberBase<I>
    {
        R lanes = default;
        for (int k = 0; k < n; k++)
            ((I*)&lanes)[k] = I.CreateTruncating(p[k * stride]);
        return lanes;
    }

    /// <summary>p[index] of every lane.</summary>
    [MethodImpl(Inline)]
    public static R Gather<R, N, I>(void* p, N index) where R : unmanaged where N : unmanaged where I : unmanaged, IBinaryInteger<I>
    {
        if (Avx2.IsSupported && sizeof(N) == 64)
        {
            Vector512<long> x = Unsafe.BitCast<N, Vector512<long>>(index);
            return Unsafe.BitCast<Vector512<long>, R>(Vector512.Create(Gather256<I>(p, x.GetLower()), Gather256<I>(p, x.GetUpper())));
        }
        if (Avx2.IsSupported && sizeof(N) == 32)
            return Unsafe.BitCast<Vector256<long>, R>(Gather256<I>(p, Unsafe.BitCast<N, Vector256<long>>(index)));
        return GatherElements<R, N, I, I>((I*)p, index);
    }

    [MethodImpl(Inline)]
    private static Vector256<long> Gather256<I>(void* p, Vector256<long> index) where I : unmanaged
        => sizeof(I) == 4 ? Avx2.GatherVector256((int*)p, index.AsInt32(), 4).AsInt64() : Avx2.GatherVector256((long*)p, index, 8);

    /// <summary>The same for elements of any size.</summary>
    [MethodImpl(Optimize)]
    public static R GatherElements<R, N, I, E>(E* p, N index) where R : unmanaged where N : unmanaged where I : unmanaged, IBinaryInteger<I> where E : unmanaged, IBinaryInteger<E>
    {
        R lanes = default;
        for (int k = 0; k < sizeof(N) / sizeof(I); k++)
            ((I*)&lanes)[k] = I.CreateTruncating(p[nint.CreateTruncating(((I*)&index)[k])]);
        return lanes;
    }

    /// <summary>Quotients towards 0, and 0 where the divisor is 0, as it may be in lanes that do not exist.</summary>
    [MethodImpl(Optimize)]
    public static N Divide<N, I>(N a, N b) where N : unmanaged where I : unmanaged, IBinaryInteger<I>
    {
        N lanes = default;
        for (int k = 0; k < sizeof(N) / sizeof(I); k++)
        {
            int x = int.CreateTruncating(((I*)&a)[k]), y = int.CreateTruncating(((I*)&b)[k]);
            ((I*)&lanes)[k] = I.CreateTruncating(y == 0 ? 0L : (long)x / y);
        }
        return lanes;
    }

    /// <summary>Adds the first n lanes where p and the stride say, one after the other.</summary>
    [MethodImpl(Optimize)]
    public static void Add<V, T>(V value, T* p, nint stride, int n) where V : unmanaged where T : unmanaged, INumberBase<T>
    {
        for (int k = 0; k < n; k++)
            p[k * stride] += ((T*)&value)[k];
    }

    /// <summary>Adds the first n lanes where p and an index say, one after the other; what goes to one place is summed up first.</summary>
    [MethodImpl(Optimize)]
    public static void Scatter<V, N, T, I>(V value, T* p, N index, int n) where V : unmanaged where N : unmanaged where T : unmanaged, INumberBase<T> where I : unmanaged, IBinaryInteger<I>
    {
        nint place = nint.CreateTruncating(*(I*)&index);
        T sum = *(T*)&value;
        for (int k = 1; k < n; k++)
        {
            nint next = nint.CreateTruncating(((I*)&index)[k]);
            if (next != place)
            {
                p[place] += sum;
                (place, sum) = (next, T.Zero);
            }
            sum += ((T*)&value)[k];
        }
        p[place] += sum;
    }

    /// <summary>
    /// Asks for what will be read. A panel reads short runs of many rows, each on a page of its own: nothing that the hardware foresees.
    /// </summary>
    [MethodImpl(Inline)]
    public static void Prefetch(void* p)
    {
        if (Sse.IsSupported)
            Sse.Prefetch0(p);
    }

    /// <summary>
    /// A part of a tensor into scratch memory, its columns as rows: what lies across the lanes is read along the tensor's rows, once.
    /// Blocks of eight lanes x four rows (four x two of eight bytes): each half of a register holds rows of the tensor of its own.
    /// </summary>
    [MethodImpl(Jit.Alone)]
    public static void Stage<E>(E* from, nint laneStride, E* to, nint stride, int rows, int lanes) where E : unmanaged
    {
        int block = sizeof(E) == 4 ? 4 : 2, x = 0;
        if (Avx.IsSupported)
        {
            for (; x + 2 * block <= lanes; x += 2 * block)
            {
                E* y = from + x * laneStride, z = to + x;
                int r = 0;
                for (; r + block <= rows; r += block, y += block, z += block * stride)
                {
                    if (sizeof(E) == 4)
                        Block4((float*)y, laneStride, (float*)z, stride);
                    else
                        Block2((double*)y, laneStride, (double*)z, stride);
                }
                Rest(from + x * laneStride, laneStride, to + x, stride, r, rows, 2 * block);
            }
        }
        Rest(from + x * laneStride, laneStride, to + x, stride, 0, rows, lanes - x);
    }

    [MethodImpl(Inline)]
    private static void Block4(float* y, nint ld, float* z, nint stride)
    {
        Vector256<float> a = Pair(y, y + 4 * ld), b = Pair(y + ld, y + 5 * ld), c = Pair(y + 2 * ld, y + 6 * ld), d = Pair(y + 3 * ld, y + 7 * ld);
        Vector256<double> ab = Avx.UnpackLow(a, b).AsDouble(), ba = Avx.UnpackHigh(a, b).AsDouble(), cd = Avx.UnpackLow(c, d).AsDouble(), dc = Avx.UnpackHigh(c, d).AsDouble();
        Avx.UnpackLow(ab, cd).AsSingle().Store(z);
        Avx.UnpackHigh(ab, cd).AsSingle().Store(z + stride);
        Avx.UnpackLow(ba, dc).AsSingle().Store(z + 2 * stride);
        Avx.UnpackHigh(ba, dc).AsSingle().Store(z + 3 * stride);
    }

    [MethodImpl(Inline)]
    private static void Block2(double* y, nint ld, double* z, nint stride)
    {
        Vector256<double> a = Pair(y, y + 2 * ld), b = Pair(y + ld, y + 3 * ld);
        Avx.UnpackLow(a, b).Store(z);
        Avx.UnpackHigh(a, b).Store(z + stride);
    }

    [MethodImpl(Inline)]
    private static Vector256<T> Pair<T>(T* low, T* high) where T : unmanaged => Vector256.Create(Vector128.Load(low), Vector128.Load(high));

    /// <summary>The same for bytes, in blocks of sixteen lanes x eight rows.</summary>
    [MethodImpl(Optimize)]
    public static void StageBytes(byte* from, nint laneStride, byte* to, nint stride, int rows, int lanes)
    {
        int x = 0;
        if (Sse2.IsSupported)
        {
            for (; x + 16 <= lanes; x += 16)
            {
                byte* y = from + x * laneStride, z = to + x;
                int r = 0;
                for (; r + 8 <= rows; r += 8, y += 8, z += 8 * stride)
                {
                    // Of eight lanes a register holds two rows; then both eights side by side.
                    Eight(y, laneStride, out Vector128<ulong> a0, out Vector128<ulong> a1, out Vector128<ulong> a2, out Vector128<ulong> a3);
                    Eight(y + 8 * laneStride, laneStride, out Vector128<ulong> b0, out Vector128<ulong> b1, out Vector128<ulong> b2, out Vector128<ulong> b3);
                    Pair(a0, b0, z, stride);
                    Pair(a1, b1, z + 2 * stride, stride);
                    Pair(a2, b2, z + 4 * stride, stride);
                    Pair(a3, b3, z + 6 * stride, stride);
                }
                Rest(from + x * laneStride, laneStride, to + x, stride, r, rows, 16);
            }
        }
        Rest(from + x * laneStride, laneStride, to + x, stride, 0, rows, lanes - x);
    }

    [MethodImpl(Inline)]
    private static void Eight(byte* y, nint ld, out Vector128<ulong> r0, out Vector128<ulong> r1, out Vector128<ulong> r2, out Vector128<ulong> r3)
    {
        Vector128<ushort> a = Two(y, y + ld), b = Two(y + 2 * ld, y + 3 * ld), c = Two(y + 4 * ld, y + 5 * ld), d = Two(y + 6 * ld, y + 7 * ld);
        Vector128<uint> ab = Sse2.UnpackLow(a, b).AsUInt32(), ba = Sse2.UnpackHigh(a, b).AsUInt32(), cd = Sse2.UnpackLow(c, d).AsUInt32(), dc = Sse2.UnpackHigh(c, d).AsUInt32();
        (r0, r1, r2, r3) = (Sse2.UnpackLow(ab, cd).AsUInt64(), Sse2.UnpackHigh(ab, cd).AsUInt64(), Sse2.UnpackLow(ba, dc).AsUInt64(), Sse2.UnpackHigh(ba, dc).AsUInt64());
    }

    [MethodImpl(Inline)]
    private static void Pair(Vector128<ulong> a, Vector128<ulong> b, byte* z, nint stride)
    {
        Sse2.UnpackLow(a, b).AsByte().Store(z);
        Sse2.UnpackHigh(a, b).AsByte().Store(z + stride);
    }

    [MethodImpl(Inline)]
    private static Vector128<ushort> Two(byte* a, byte* b) => Sse2.UnpackLow(Vector128.CreateScalarUnsafe(*(ulong*)a).AsByte(), Vector128.CreateScalarUnsafe(*(ulong*)b).AsByte()).AsUInt16();

    [MethodImpl(Inline)]
    private static void Rest<E>(E* from, nint laneStride, E* to, nint stride, int first, int rows, int lanes) where E : unmanaged
    {
        for (int r = first; r < rows; r++)
        {
            for (int k = 0; k < lanes; k++)
                to[r * stride + k] = from[k * laneStride + r];
        }
    }
}
