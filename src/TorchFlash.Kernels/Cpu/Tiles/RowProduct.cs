using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>
/// Products for problems of a few queries, as in decoding. Of a register tile, six rows high and a register wide at least, they would use
/// little; here every row of K and V is read once for each query, along the row, and nothing has to be transposed.
/// </summary>
internal static unsafe class RowProduct<L, V, T>
    where L : struct, ILanes<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Queries up to which this is the faster way.</summary>
    public const int MostQueries = 4;

    /// <summary>Rows of d elements, times a factor, as the others here take them: 0 from d up to whole registers.</summary>
    public static Matrix<T> Pack(Matrix<T> x, int rows, int d, T factor, T* to)
    {
        var packed = new Matrix<T>(to, Product<L, V, T>.PadColumns(d));
        Packing<L, V, T>.Copy(x, packed, rows, d, factor);
        for (int r = 0; r < rows; r++)
            packed.Span(r, d, (int)packed.Stride - d).Clear();
        return packed;
    }

    /// <summary>y[j stride] = x · B(j, :) for so many rows of B; columns are whole registers.</summary>
    [MethodImpl(Jit.Alone)]
    public static void Dots(T* x, Matrix<T> b, int rows, int columns, T* y, nint stride)
    {
        for (int j = 0; j < rows; j++, y += stride)
        {
            T* row = b.Row(j);
            V even = L.Zero, odd = L.Zero;
            int k = 0;
            for (; k + 2 * L.Count <= columns; k += 2 * L.Count)
            {
                even = L.MultiplyAdd(L.Load(x + k), L.Load(row + k), even);
                odd = L.MultiplyAdd(L.Load(x + k + L.Count), L.Load(row + k + L.Count), odd);
            }
            if (k < columns)
                even = L.MultiplyAdd(L.Load(x + k), L.Load(row + k), even);
            *y = L.Sum(L.Add(even, odd));
        }
    }

    /// <summary>
    /// C = A Bᵀ for so many rows of A, and of B from row x on; the columns of C up to whole registers are 0 where B has no more rows: what is there must
    /// not slow others down. The side with fewer rows is that of the queries.
    /// </summary>
    [MethodImpl(Jit.Alone)]
    public static void Panel(int columns, Matrix<T> a, int rows, Packed<T> b, int x, Matrix<T> c, int d)
    {
        int n = Math.Min(columns, b.Rows - x);
        for (int r = 0; r < rows; r++)
        {
            for (int k = n / L.Count * L.Count; k < columns; k += L.Count)
                L.Store(c.Row(r) + k, L.Zero);
        }
        Matrix<T> from = b.Data.From(x);
        for (int r = 0; r < rows && rows <= n; r++)
            Dots(a.Row(r), from, n, d, c.Row(r), 1);
        for (int k = 0; k < n && n < rows; k++)
            Dots(from.Row(k), a, rows, d, c.Data + k, c.Stride);
    }

    /// <summary>c += sum_j a[j stride] B(j, :) over so many rows of B, summed from zero; columns are whole registers.</summary>
    [MethodImpl(Jit.Alone)]
    public static void Add(T* a, nint stride, Matrix<T> b, int rows, int columns, T* c)
    {
        int x = 0;
        for (; x + 4 * L.Count <= columns; x += 4 * L.Count)
        {
            V c0 = L.Zero, c1 = L.Zero, c2 = L.Zero, c3 = L.Zero;
            T* row = b.Data + x;
            for (int j = 0; j < rows; j++, row += b.Stride)
            {
                V t = L.Broadcast(a[j * stride]);
                c0 = L.MultiplyAdd(t, L.Load(row), c0);
                c1 = L.MultiplyAdd(t, L.Load(row + L.Count), c1);
                c2 = L.MultiplyAdd(t, L.Load(row + 2 * L.Count), c2);
                c3 = L.MultiplyAdd(t, L.Load(row + 3 * L.Count), c3);
            }
            L.Store(c + x, L.Add(L.Load(c + x), c0));
            L.Store(c + x + L.Count, L.Add(L.Load(c + x + L.Count), c1));
            L.Store(c + x + 2 * L.Count, L.Add(L.Load(c + x + 2 * L.Count), c2));
            L.Store(c + x + 3 * L.Count, L.Add(L.Load(c + x + 3 * L.Count), c3));
        }
        for (; x < columns; x += L.Count)
        {
            V sum = L.Zero;
            for (int j = 0; j < rows; j++)
                sum = L.MultiplyAdd(L.Broadcast(a[j * stride]), L.Load(b.Row(j) + x), sum);
            L.Store(c + x, L.Add(L.Load(c + x), sum));
        }
    }
}
