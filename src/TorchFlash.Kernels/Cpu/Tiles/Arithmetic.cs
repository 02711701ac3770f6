using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Assembled;
using TorchFlash.Kernels.Cpu.Lanes;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>
/// What the products of a pass multiply, how operands are packed for it, and how many rows go together:
/// <list type="bullet">
/// <item>elements of <typeparamref name="T"/> in register tiles (<see cref="Product{L, V, T}"/>), six rows at a time;</item>
/// <item>pairs of bfloat16 with the tile that sums their products in float, six rows at a time: words as wide as a T, which lie in matrices of T. They are
/// neighbours along the depth of a product, of which there is half as much then;</item>
/// <item>elements row by row where there are few queries (<see cref="RowProduct{L, V, T}"/>): nothing is transposed, no row is padded.</item>
/// </list>
/// </summary>
/// <remarks>
/// As pairs K, Q and dO are read where they lie (A of Q Kᵀ and dO Vᵀ); P and dS, of float, are rounded. A range of the depth is widened to whole pairs:
/// what that takes in beside it is 0 on one side, as what is hidden is, and behind the end on both.
/// </remarks>
internal sealed unsafe class Arithmetic<L, V, T>
    where L : struct, ILanes<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly PairTile? _pairs;
    private readonly bool _isByRows;

    /// <param name="problem">The problem; it, and not a tile of it, decides: S has the same bits forward and backward.</param>
    /// <param name="pairs">The tile for pairs, if they are to be multiplied.</param>
    public Arithmetic(in AttentionProblem problem, PairTile? pairs)
    {
        _isByRows = problem.QueryLength <= RowProduct<L, V, T>.MostQueries;
        _pairs = _isByRows ? null : pairs;
    }

    public bool IsOfPairs => _pairs is not null;

    /// <summary>Whether <see cref="Panel"/> finds maxima.</summary>
    public bool HasMaxima => _pairs is null && !_isByRows;

    /// <summary>Queries that go together as rows of a product.</summary>
    public int QueryRows => _isByRows ? 1 : Product<L, V, T>.TileRows;

    /// <summary>Rows of A that <see cref="Panel"/> reads for so many.</summary>
    public int PadRows(int rows) => _isByRows ? rows : Product<L, V, T>.PadRows(rows);

    /// <summary>Rows of memory for so many numbers along the depth.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Depth(int n) => _pairs is null ? n : (n + 1) / 2;

    /// <summary>The part of the depth in which those from .. to - 1 lie.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public (int From, int Depth) Range(int from, int to) => _pairs is null || from >= to ? (from, to - from) : (from >> 1, (to + 1 >> 1) - (from >> 1));

    /// <summary>Rows [rows, d] as A of <see cref="Panel"/>; see <see cref="Packing{L, V, T}.Pad"/>.</summary>
    public Matrix<T> Rows(Stored<T> x, int rows, int available, int d, T* scratch)
    {
        if (_pairs is null)
            return Packing<L, V, T>.Pad(x, rows, _isByRows ? int.MaxValue : available, d, scratch);
        int padded = Product<L, V, T>.PadRows(rows), depth = Depth(d);
        if (padded <= available && IsOfWords(x, d))
            return x.Words;
        for (int r = 0; r < padded; r++)
            CopyRow(x, Math.Min(r, rows - 1), d, scratch + r * (nint)depth);
        return new(scratch, depth);
    }

    /// <summary>Elements of memory that <see cref="Pack"/> needs.</summary>
    public long PackedSize(int rows, int d)
        => _isByRows ? (long)Product<L, V, T>.PadRows(rows) * Product<L, V, T>.PadColumns(d) : (long)Product<L, V, T>.PadPanels(rows) * d;

    /// <summary>Rows [rows, d] as B of <see cref="Panel"/>, times 1, -1 or 0: in panels, see <see cref="Packing{L, V, T}.Transpose"/>, or as they are.</summary>
    /// <param name="x">The rows.</param>
    /// <param name="rows">How many.</param>
    /// <param name="d">Elements of each.</param>
    /// <param name="sign">1, -1 or 0.</param>
    /// <param name="packed">Where to.</param>
    /// <param name="scratch">For 16-bit operands: room for the rows.</param>
    /// <param name="columns">What <see cref="Columns"/> has made of them, if it has.</param>
    public Packed<T> Pack(Stored<T> x, int rows, int d, T sign, T* packed, T* scratch, Matrix<T> columns = default)
    {
        if (_isByRows)
        {
            Matrix<T> padded = columns.Data == null ? Packing<L, V, T>.Pad(x, rows, int.MaxValue, d, packed) : columns;
            return new(sign == T.One ? padded : RowProduct<L, V, T>.Pack(padded, rows, d, sign, packed), rows);
        }
        int depth = Depth(d);
        if (_pairs is null)
        {
            Packing<L, V, T>.Transpose(Packing<L, V, T>.Rows(x, rows, d, scratch), rows, d, sign, packed);
        }
        else
        {
            Matrix<T> words = sign == T.One && IsOfWords(x, d) ? x.Words : new(scratch, depth);
            for (int r = 0; r < rows && words.Data == scratch; r++)
            {
                CopyRow(x, r, d, words.Row(r));
                if (sign != T.One)
                    HalfWidth.MultiplyBySign((ushort*)words.Row(r), T.IsNegative(sign), 2 * depth);
            }
            Packing<L, V, T>.Transpose(words, rows, depth, T.One, packed);
        }
        return new(new(packed, depth), rows);
    }

    /// <summary>Rows [rows, d] as B of <see cref="AddToQueries"/> and <see cref="AddToKeys"/>: whole registers wide, neighbouring rows in pairs.</summary>
    /// <param name="x">The rows.</param>
    /// <param name="rows">How many.</param>
    /// <param name="d">Elements of each.</param>
    /// <param name="scratch">Where to.</param>
    /// <param name="packed">What <see cref="Rows"/> has made of them, if it has, which will do where there are no pairs.</param>
    public Matrix<T> Columns(Stored<T> x, int rows, int d, T* scratch, Matrix<T> packed = default)
    {
        if (_pairs is null)
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
    /// P or dS as A of <see cref="AddToQueries"/> and <see cref="AddToKeys"/> down its columns: rows from .. to - 1 rounded, in pairs, so many columns of them (whole registers). May be
    /// in place: a pair lies above what it was made of.
    /// </summary>
    [MethodImpl(Jit.Alone)]
    public Matrix<T> PairRows(Matrix<T> x, int from, int to, int columns, Matrix<T> words)
    {
        if (_pairs is null)
            return x;
        for (int r = from & ~1; r < to; r += 2)
            HalfWidth.RoundPairs(r < from ? null : (float*)x.Row(r), r + 1 < to ? (float*)x.Row(r + 1) : null, (uint*)words.Row(r / 2), columns);
        return words;
    }

    /// <summary>dS as A of <see cref="AddToQueries"/> along its rows: rounded, neighbouring columns in pairs.</summary>
    public Matrix<T> PairColumns(Matrix<T> x, int rows, int columns, Matrix<T> words)
    {
        if (_pairs is null)
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

    /// <summary>
    /// C = A B for so many rows and columns (whole registers, of one panel) over a depth of d numbers; see <see cref="Product{L, V, T}.Panel"/>.
    /// </summary>
    /// <param name="columns">Columns of B and C.</param>
    /// <param name="a">A, from the first row on.</param>
    /// <param name="rows">Rows of A and C.</param>
    /// <param name="b">B.</param>
    /// <param name="x">The first column of B.</param>
    /// <param name="c">C, from the first row and column on.</param>
    /// <param name="d">Numbers along the depth.</param>
    /// <param name="max">To be raised to the maxima of C's columns, where <see cref="HasMaxima"/>.</param>
    /// <param name="ahead">What register tiles of elements ask for meanwhile.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Panel(int columns, Matrix<T> a, int rows, Packed<T> b, int x, Matrix<T> c, int d, T* max = null, Ahead? ahead = null)
    {
        int width = Product<L, V, T>.Width;
        if (_isByRows)
            RowProduct<L, V, T>.Panel(columns, a, rows, b, x, c, Product<L, V, T>.PadColumns(d));
        else if (_pairs is null)
            Product<L, V, T>.Panel(columns, a, b.Panel(x, width), c, d, Product<L, V, T>.Tiles(rows), max, ahead);
        else
            _pairs.Run(columns / PairTile.Lanes, (uint*)a.Data, a.Stride, 1, (uint*)b.Panel(x, width), width, (float*)c.Data, c.Stride, Depth(d), Product<L, V, T>.Tiles(rows), add: false);
    }

    /// <summary>
    /// O += P V or dQ += dS K: C += A B for <see cref="QueryRows"/> queries, blocks times, over a part of the depth that <see cref="Range"/> gave; see <see cref="Product{L, V, T}.Add"/>.
    /// </summary>
    public void AddToQueries(int columns, T* a, nint rs, nint ks, Matrix<T> b, Matrix<T> c, int depth, int blocks, Ahead? ahead = null)
    {
        if (!_isByRows)
        {
            AddToKeys(columns, a, rs, ks, b, c, depth, blocks, ahead);
            return;
        }
        for (int i = 0; i < blocks; i++)
            RowProduct<L, V, T>.Add(a + i * rs, ks, b, depth, columns, c.Row(i));
    }

    /// <summary>dV += Pᵀ dO or dK += dSᵀ Q: the same for six keys, blocks times.</summary>
    public void AddToKeys(int columns, T* a, nint rs, nint ks, Matrix<T> b, Matrix<T> c, int depth, int blocks, Ahead? ahead = null)
    {
        if (_pairs is null)
        {
            Product<L, V, T>.Add(columns, a, rs, ks, b, c, depth, blocks, ahead);
            return;
        }
        int width = Product<L, V, T>.Width;
        for (int x = 0; x < columns; x += width)
            _pairs.Run(Math.Min(width, columns - x) / PairTile.Lanes, (uint*)a, rs, ks, (uint*)b.Data + x, b.Stride, (float*)c.Data + x, c.Stride, depth, blocks, add: true);
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
