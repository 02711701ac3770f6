using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;
using TorchFlash.Kernels.Cpu.Lanes;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>Operands brought into the shapes that register tiles read.</summary>
internal static unsafe class Packing<L, V, T>
    where L : struct, ILanes<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>
    /// Rows [rows, d] to transposed column panels t[panel][k][width], times a factor: the B operand of Q Kᵀ, K Qᵀ and dO Vᵀ.
    /// Columns past the last row are 0 up to a whole register. With a factor of 1 the elements may be anything of that size.
    /// </summary>
    [MethodImpl(Jit.Alone)]
    public static void Transpose(Matrix<T> x, int rows, int d, T factor, T* t)
    {
        nint ld = x.Stride;
        int width = Product<L, V, T>.Width;
        for (int row = 0; row < rows; row += width, t += (nint)d * width)
        {
            int n = Math.Min(width, rows - row), c = 0, whole = n / L.Count * L.Count;
            for (int k = 0; whole < n && k < d; k++)
                L.Store(t + k * width + whole, L.Zero);
            T* y = x.Row(row);
            if (sizeof(T) == sizeof(float))
            {
                float f = float.CreateTruncating(factor);
                for (; Avx512F.IsSupported && L.Count == 16 && c + 16 <= n; c += 16)
                    Transpose16((float*)(y + c * ld), ld, d, f, (float*)(t + c), width);
                for (; Avx.IsSupported && L.Count == 8 && c + 8 <= n; c += 8)
                    Transpose8((float*)(y + c * ld), ld, d, f, (float*)(t + c), width);
                for (; (Sse2.IsSupported || AdvSimd.Arm64.IsSupported) && c + 4 <= n; c += 4)
                    Transpose4((float*)(y + c * ld), ld, d, f, (float*)(t + c), width);
            }
            else
            {
                for (; (Sse2.IsSupported || AdvSimd.Arm64.IsSupported) && c + 2 <= n; c += 2)
                    Transpose2((double*)(y + c * ld), ld, d, double.CreateTruncating(factor), (double*)(t + c), width);
            }
            for (; c < n; c++)
            {
                for (int k = 0; k < d; k++)
                    t[k * width + c] = factor == T.One ? y[c * ld + k] : y[c * ld + k] * factor;
            }
        }
    }

    /// <summary>Sixteen rows at a time, in four 4 x 4 blocks side by side: rows r, r + 4, r + 8, r + 12 share a register.</summary>
    [MethodImpl(Jit.Alone)]
    private static void Transpose16(float* y, nint ld, int d, float factor, float* t, int width)
    {
        Vector512<float> f = Vector512.Create(factor);
        float* y0 = y, y1 = y + ld, y2 = y + 2 * ld, y3 = y + 3 * ld;
        nint down = 4 * ld;
        int k = 0;
        for (; k + 4 <= d; k += 4, t += 4 * width)
        {
            Vector512<float> r0 = Rows16(y0 + k, down), r1 = Rows16(y1 + k, down), r2 = Rows16(y2 + k, down), r3 = Rows16(y3 + k, down);
            if (factor != 1)
                (r0, r1, r2, r3) = (r0 * f, r1 * f, r2 * f, r3 * f);
            Vector512<double> a0 = Avx512F.UnpackLow(r0, r1).AsDouble(), a1 = Avx512F.UnpackHigh(r0, r1).AsDouble();
            Vector512<double> b0 = Avx512F.UnpackLow(r2, r3).AsDouble(), b1 = Avx512F.UnpackHigh(r2, r3).AsDouble();
            Avx512F.UnpackLow(a0, b0).AsSingle().Store(t);
            Avx512F.UnpackHigh(a0, b0).AsSingle().Store(t + width);
            Avx512F.UnpackLow(a1, b1).AsSingle().Store(t + 2 * width);
            Avx512F.UnpackHigh(a1, b1).AsSingle().Store(t + 3 * width);
        }
        TransposeRest(y, ld, k, d, 16, factor, t, width);
    }

    /// <summary>Eight rows at a time, in two 4 x 4 blocks side by side.</summary>
    [MethodImpl(Jit.Alone)]
    private static void Transpose8(float* y, nint ld, int d, float factor, float* t, int width)
    {
        Vector256<float> f = Vector256.Create(factor);
        float* y0 = y, y1 = y + ld, y2 = y + 2 * ld, y3 = y + 3 * ld;
        nint down = 4 * ld;
        int k = 0;
        for (; k + 4 <= d; k += 4, t += 4 * width)
        {
            Vector256<float> r0 = Rows8(y0 + k, down), r1 = Rows8(y1 + k, down), r2 = Rows8(y2 + k, down), r3 = Rows8(y3 + k, down);
            if (factor != 1)
                (r0, r1, r2, r3) = (r0 * f, r1 * f, r2 * f, r3 * f);
            Vector256<double> a0 = Avx.UnpackLow(r0, r1).AsDouble(), a1 = Avx.UnpackHigh(r0, r1).AsDouble();
            Vector256<double> b0 = Avx.UnpackLow(r2, r3).AsDouble(), b1 = Avx.UnpackHigh(r2, r3).AsDouble();
            Avx.UnpackLow(a0, b0).AsSingle().Store(t);
            Avx.UnpackHigh(a0, b0).AsSingle().Store(t + width);
            Avx.UnpackLow(a1, b1).AsSingle().Store(t + 2 * width);
            Avx.UnpackHigh(a1, b1).AsSingle().Store(t + 3 * width);
        }
        TransposeRest(y, ld, k, d, 8, factor, t, width);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Rows8(float* p, nint down) => Avx.InsertVector128(Vector128.Load(p).ToVector256Unsafe(), Vector128.Load(p + down), 1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Rows16(float* p, nint down) => Avx512F.InsertVector256(Rows8(p, down).ToVector512Unsafe().AsDouble(), Rows8(p + 2 * down, down).AsDouble(), 1).AsSingle();

    /// <summary>Columns k .. d - 1 of so many rows.</summary>
    private static void TransposeRest(float* y, nint ld, int k, int d, int rows, float factor, float* t, int width)
    {
        for (; k < d; k++, t += width)
        {
            for (int r = 0; r < rows; r++)
                t[r] = factor == 1 ? y[r * ld + k] : y[r * ld + k] * factor;
        }
    }

    /// <summary>Four rows at a time, in 4 x 4 blocks.</summary>
    [MethodImpl(Jit.Alone)]
    private static void Transpose4(float* y, nint ld, int d, float factor, float* t, int width)
    {
        Vector128<float> f = Vector128.Create(factor);
        bool scales = factor != 1;
        float* y0 = y, y1 = y + ld, y2 = y + 2 * ld, y3 = y + 3 * ld;
        int k = 0;
        for (; k + 4 <= d; k += 4, t += 4 * width)
        {
            Vector128<float> r0 = Vector128.Load(y0 + k), r1 = Vector128.Load(y1 + k), r2 = Vector128.Load(y2 + k), r3 = Vector128.Load(y3 + k);
            if (scales)
                (r0, r1, r2, r3) = (r0 * f, r1 * f, r2 * f, r3 * f);
            Vector128<double> a0 = InterleaveLow(r0, r1).AsDouble(), a1 = InterleaveHigh(r0, r1).AsDouble();
            Vector128<double> b0 = InterleaveLow(r2, r3).AsDouble(), b1 = InterleaveHigh(r2, r3).AsDouble();
            InterleaveLow(a0, b0).AsSingle().Store(t);
            InterleaveHigh(a0, b0).AsSingle().Store(t + width);
            InterleaveLow(a1, b1).AsSingle().Store(t + 2 * width);
            InterleaveHigh(a1, b1).AsSingle().Store(t + 3 * width);
        }
        TransposeRest(y, ld, k, d, 4, factor, t, width);
    }

    /// <summary>Two rows at a time, in 2 x 2 blocks.</summary>
    [MethodImpl(Jit.Alone)]
    private static void Transpose2(double* y, nint ld, int d, double factor, double* t, int width)
    {
        Vector128<double> f = Vector128.Create(factor);
        double* y0 = y, y1 = y + ld;
        int k = 0;
        for (; k + 2 <= d; k += 2, t += 2 * width)
        {
            Vector128<double> r0 = Vector128.Load(y0 + k) * f, r1 = Vector128.Load(y1 + k) * f;
            InterleaveLow(r0, r1).Store(t);
            InterleaveHigh(r0, r1).Store(t + width);
        }
        if (k < d)
        {
            t[0] = y0[k] * factor;
            t[1] = y1[k] * factor;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> InterleaveLow(Vector128<float> a, Vector128<float> b)
        => Sse2.IsSupported ? Sse.UnpackLow(a, b) : AdvSimd.Arm64.ZipLow(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> InterleaveHigh(Vector128<float> a, Vector128<float> b)
        => Sse2.IsSupported ? Sse.UnpackHigh(a, b) : AdvSimd.Arm64.ZipHigh(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<double> InterleaveLow(Vector128<double> a, Vector128<double> b)
        => Sse2.IsSupported ? Sse2.UnpackLow(a, b) : AdvSimd.Arm64.ZipLow(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<double> InterleaveHigh(Vector128<double> a, Vector128<double> b)
        => Sse2.IsSupported ? Sse2.UnpackHigh(a, b) : AdvSimd.Arm64.ZipHigh(a, b);

    /// <summary>
    /// Row-major rows as register tiles read them: whole registers wide and a multiple of six high. In place where the operand is
    /// so already (<paramref name="available"/> rows may be read), else copied: columns past the end are 0, rows past the end repeat the last one (they are computed, but nobody reads the results).
    /// </summary>
    public static Matrix<T> Pad(Stored<T> x, int rows, int available, int d, T* scratch)
    {
        int columns = Product<L, V, T>.PadColumns(d), padded = Product<L, V, T>.PadRows(rows);
        if (x.IsOfT && columns == d && padded <= available)
            return x.InPlace;
        Read(x, rows, d, scratch, columns);
        for (int r = 0; r < padded; r++)
        {
            T* to = scratch + r * (nint)columns;
            if (r >= rows)
                new Span<T>(scratch + (rows - 1) * (nint)columns, d).CopyTo(new Span<T>(to, d));
            new Span<T>(to + d, columns - d).Clear();
        }
        return new(scratch, columns);
    }

    /// <summary>Rows of T: in place where they are that, else converted.</summary>
    public static Matrix<T> Rows(Stored<T> x, int rows, int d, T* scratch)
    {
        if (x.IsOfT)
            return x.InPlace;
        Read(x, rows, d, scratch, d);
        return new(scratch, d);
    }

    /// <summary>y = factor x for n rows of d elements, each rounded once.</summary>
    public static void Store(Matrix<T> x, Stored<T> y, int n, int d, T factor)
    {
        if (y.IsOfT)
            Copy(x, y.InPlace, n, d, factor);
        else
        {
            for (int r = 0; r < n; r++)
                HalfWidth.Narrow(y.Type, (float*)x.Row(r), float.CreateTruncating(factor), (ushort*)y.Row(r), d);
        }
    }

    private static void Read(Stored<T> x, int rows, int d, T* to, int columns)
    {
        if (!x.IsOfT && columns == d && x.Stride == d * sizeof(ushort))
            (rows, d) = (1, rows * d); // One long row.
        for (int r = 0; r < rows; r++)
        {
            if (x.IsOfT)
                new Span<T>(x.Row(r), d).CopyTo(new Span<T>(to + r * (nint)columns, d));
            else
                HalfWidth.Widen<L, V, T>(x.Type, (ushort*)x.Row(r), to + r * (nint)columns, d);
        }
    }

    /// <summary>y = factor x, or y += factor x, for n rows of d elements; x may be y.</summary>
    [MethodImpl(Jit.Alone)]
    public static void Copy(Matrix<T> x, Matrix<T> y, int n, int d, T factor, bool add = false)
    {
        V f = L.Broadcast(factor);
        for (int r = 0; r < n; r++)
        {
            T* from = x.Row(r), to = y.Row(r);
            int c = 0;
            for (; c + L.Count <= d; c += L.Count)
            {
                V product = L.Multiply(L.Load(from + c), f);
                L.Store(to + c, add ? L.Add(L.Load(to + c), product) : product);
            }
            for (; c < d; c++)
                to[c] = add ? to[c] + from[c] * factor : from[c] * factor;
        }
    }
}
