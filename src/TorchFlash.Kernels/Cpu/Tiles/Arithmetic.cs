using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Assembled;
using TorchFlash.Kernels.Cpu.Lanes;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>
/// What the products of a pass multiply, and how operands are packed for it: elements of <typeparamref name="T"/>, or pairs of bfloat16 with
/// the tile that sums their products in float. Pairs are words as wide as a T and lie in matrices of T; they are neighbours along the depth of
/// a product, of which there is half as much then.
/// </summary>
/// <remarks>
/// As pairs K, Q and dO are read where they lie (A of Q Kᵀ and dO Vᵀ); P and dS, of float, are rounded. A range of the depth is widened to whole pairs:
/// what that takes in beside it is 0 on one side, as what is hidden is, and behind the end on both.
/// </remarks>
internal sealed unsafe class Arithmetic<L, V, T>(PairTile? pairs)
    where L : struct, ILanes<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public bool IsOfPairs => pairs is not null;

    /// <summary>Rows of memory for so many numbers along the depth.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Depth(int n) => pairs is null ? n : (n + 1) / 2;

    /// <summary>The part of the depth in which those from .. to - 1 lie.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public (int From, int Depth) Range(int from, int to) => pairs is null || from >= to ? (from, to - from) : (from >> 1, (to + 1 >> 1) - (from >> 1));

    /// <summary>Rows [rows, d] as A of <see cref="Panel"/>; see <see cref="Packing{L, V, T}.Pad"/>.</summary>
    public Matrix<T> Rows(Stored<T> x, int rows, int available, int d, T* scratch)
    {
        if (pairs is null)
            return Packing<L, V, T>.Pad(x, rows, available, d, scratch);
        int padded = Product<L, V, T>.PadRows(rows), depth = Depth(d);
        if (padded <= available && IsOfWords(x, d))
            return x.Words;
        for (int r = 0; r < padded; r++)
            CopyRow(x, Math.Min(r, rows - 1), d, scratch + r * (nint)depth);
        return new(scratch, depth);
    }

    /// <summary>Rows [rows, d] as B of <see cref="Panel"/>, times 1, -1 or 0: in panels, see <see cref="Packing{L, V, T}.Transpose"/>.</summary>
    public void Transpose(Stored<T> x, int rows, int d, T sign, T* panels, T* scratch)
    {
        if (pairs is null)
        {
            Packing<L, V, T>.Transpose(Packing<L, V, T>.Rows(x, rows, d, scratch), rows, d, sign, panels);
            return;
        }
        int depth = Depth(d);
        Matrix<T> words = sign == T.One && IsOfWords(x, d) ? x.Words : new(scratch, depth);
        for (int r = 0; r < rows && words.Data == scratch; r++)
        {
            CopyRow(x, r, d, words.Row(r));
            if (sign != T.One)
                HalfWidth.MultiplyBySign((ushort*)words.Row(r), T.IsNegative(sign), 2 * depth);
        }
        Packing<L, V, T>.Transpose(words, rows, depth, T.One, panels);
    }

    /// <summary>Rows [rows, d] as B of <see cref="Add"/>: whole registers wide, neighbouring rows in pairs.</summary>
    /// <param name="x">The rows.</param>
    /// <param name="rows">How many.</param>
    /// <param name="d">Elements of each.</param>
    /// <param name="scratch">Where to.</param>
    /// <param name="packed">What <see cref="Rows"/> has made of them, if it has, which will do where there are no pairs.</param>
    public Matrix<T> Columns(Stored<T> x, int rows, int d, T* scratch, Matrix<T> packed = default)
    {
        if (pairs is null)
            return packed.Data == null ? Packing<L, V, T>.Pad(x, rows, int.MaxValue, d, scratch) : packed;
        int columns = Product<L, V, T>.PadColumns(d);
        for (int r = 0; r < rows; r += 2)
        {
            T* to = scratch + r / 2 * (nint)columns;
            HalfWidth.Pair((ushort*)x.Row(r), r + 1 < rows ? (ushort*)x.Row(r + 1) : null, (uint*)to, d);
            new Span<T>(to + d, columns - d).Clear();
        }
        return new(scratch, columns);
    }

    /// <summary>
    /// P or dS as A of <see cref="Add"/> down its columns: rows from .. to - 1 rounded, in pairs, so many columns of them (whole registers). May be
    /// in place: a pair lies above what it was made of.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public Matrix<T> PairRows(Matrix<T> x, int from, int to, int columns, Matrix<T> words)
    {
        if (pairs is null)
            return x;
        for (int r = from & ~1; r < to; r += 2)
            HalfWidth.RoundPairs(r < from ? null : (float*)x.Row(r), r + 1 < to ? (float*)x.Row(r + 1) : null, (uint*)words.Row(r / 2), columns);
        return words;
    }

    /// <summary>dS as A of <see cref="Add"/> along its rows: rounded, neighbouring columns in pairs.</summary>
    public Matrix<T> PairColumns(Matrix<T> x, int rows, int columns, Matrix<T> words)
    {
        if (pairs is null)
            return x;
        for (int r = 0; r < rows; r++)
        {
            ushort* to = (ushort*)words.Row(r);
            HalfWidth.Round((float*)x.Row(r), to, Product<L, V, T>.PadColumns(columns));
            if (columns % 2 != 0)
                to[columns] = 0;
        }
        return words;
    }

    /// <summary>C = A B over a depth of d numbers; see <see cref="Product{L, V, T}.Panel"/>. There are no maxima with pairs.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Panel(int columns, Matrix<T> a, T* b, Matrix<T> c, int d, int blocks, T* max = null)
    {
        if (pairs is null)
            Product<L, V, T>.Panel(columns, a, b, c, d, blocks, max);
        else
            pairs.Run(columns / PairTile.Lanes, (uint*)a.Data, a.Stride, 1, (uint*)b, Product<L, V, T>.Width, (float*)c.Data, c.Stride, Depth(d), blocks, add: false);
    }

    /// <summary>C += A B over a part of the depth that <see cref="Range"/> gave; see <see cref="Product{L, V, T}.Add"/>.</summary>
    public void Add(int columns, T* a, nint rs, nint ks, Matrix<T> b, Matrix<T> c, int depth, int blocks)
    {
        if (pairs is null)
        {
            Product<L, V, T>.Add(columns, a, rs, ks, b, c, depth, blocks);
            return;
        }
        int width = Product<L, V, T>.Width;
        for (int x = 0; x < columns; x += width)
            pairs.Run(Math.Min(width, columns - x) / PairTile.Lanes, (uint*)a, rs, ks, (uint*)b.Data + x, b.Stride, (float*)c.Data + x, c.Stride, depth, blocks, add: true);
    }

    /// <summary>Whether rows are made of whole words, at whatever addresses.</summary>
    private static bool IsOfWords(Stored<T> x, int d) => d % 2 == 0 && x.Stride % sizeof(uint) == 0;

    private static void CopyRow(Stored<T> x, int row, int d, T* to)
    {
        if (d % 2 != 0)
            ((ushort*)to)[d] = 0;
        new Span<ushort>(x.Row(row), d).CopyTo(new Span<ushort>(to, d));
    }
}
