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
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
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
            if (Sse2.IsSupported || AdvSimd.Arm64.IsSupported)
            {
                int block = sizeof(T) == sizeof(float) ? 4 : 2;
                for (; c + block <= n; c += block)
                {
                    if (sizeof(T) == sizeof(float))
                        Transpose4((float*)(y + c * ld), ld, d, float.CreateTruncating(factor), (float*)(t + c), width);
                    else
                        Transpose2((double*)(y + c * ld), ld, d, double.CreateTruncating(factor), (double*)(t + c), width);
                }
            }
            for (; c < n; c++)
            {
                for (int k = 0; k < d; k++)
                    t[k * width + c] = factor == T.One ? y[c * ld + k] : y[c * ld + k] * factor;
            }
        }
    }

    /// <summary>Four rows at a time, in 4 x 4 blocks.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
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
        for (; k < d; k++, t += width)
        {
            t[0] = scales ? y0[k] * factor : y0[k];
            t[1] = scales ? y1[k] * factor : y1[k];
            t[2] = scales ? y2[k] * factor : y2[k];
            t[3] = scales ? y3[k] * factor : y3[k];
        }
    }

    /// <summary>Two rows at a time, in 2 x 2 blocks.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
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
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
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
