using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>Products of whole tiles, and the sizes that their register tiles ask for.</summary>
internal static unsafe class Product<L, V, T>
    where L : struct, ILanes<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Rows of the register tile.</summary>
    public const int TileRows = 6;

    /// <summary>Columns of the register tile, and of the panels in which a transposed operand is packed.</summary>
    public static int Width
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => L.TileVectors * L.Count;
    }

    /// <summary>Bits of a register that tile programs work with: beside scalar code the smallest ones.</summary>
    public static int VectorBits => Math.Max(128, 8 * Unsafe.SizeOf<V>());

    /// <summary>Elements in such a register: what a tile program writes of the last columns it is given.</summary>
    public static int ProgramLanes => VectorBits / 8 / sizeof(T);

    /// <summary>Columns of a row-major tile that holds n of them: whole registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int PadColumns(int n) => RoundUp(n, L.Count);

    /// <summary>Rows of a tile that register tiles of it touch.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int PadRows(int n) => Tiles(n) * TileRows;

    /// <summary>Register tiles that so many rows need.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Tiles(int rows) => (rows + TileRows - 1) / TileRows;

    /// <summary>Columns of n in whole panels.</summary>
    public static int PadPanels(int n) => RoundUp(n, Width);

    /// <summary>A row stride for n columns that is an odd number of cache lines: rows one below the other do not share a set.</summary>
    public static int OddLines(int n)
    {
        int line = Math.Max(L.Count, 64 / sizeof(T));
        return ((n + line - 1) / line | 1) * line;
    }

    /// <summary>
    /// C = A B for six rows, blocks times, over the first columns (whole registers, a panel at most) of B; in two sums, or more that are
    /// no longer than 64 each: what S and dP err by, all results err by, and one chain errs as much as a matrix product of a library does. Maxima of columns are
    /// raised to those of C where somebody asks for them.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Panel(int columns, Matrix<T> a, T* b, Matrix<T> c, int depth, int blocks, T* max = null, Ahead? ahead = null)
    {
        int sums = Math.Max(Math.Min(2, depth / 16), (depth + 63) / 64);
        for (int n; blocks > 0; blocks -= n, a = a.From(n * TileRows), c = c.From(n * TileRows))
        {
            n = Asking(blocks, ahead);
            Tile(columns, a.Data, a.Stride, 1, b, Width, c.Data, c.Stride, depth, sums < 2 ? depth : (depth + sums - 1) / sums, n, add: false, max);
        }
    }

    /// <summary>C += A B for six rows, blocks times, over all columns (whole registers) of row-major B; A(r, k) = a[r rs + k ks].</summary>
    [MethodImpl(Jit.Alone)]
    public static void Add(int columns, T* a, nint rs, nint ks, Matrix<T> b, Matrix<T> c, int depth, int blocks, Ahead? ahead = null)
    {
        for (int x = 0; x < columns; x += Width)
        {
            for (int i = 0, n; i < blocks; i += n)
            {
                n = Asking(blocks - i, ahead);
                Tile(Math.Min(Width, columns - x), a + i * TileRows * rs, rs, ks, b.Data + x, b.Stride, c.Row(i * TileRows) + x, c.Stride, depth, depth, n, add: true, null);
            }
        }
    }

    /// <summary>How many of the blocks to compute now: one after having asked for something, all of them where there is nothing to ask for.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Asking(int blocks, Ahead? ahead) => ahead is not null && ahead.Next() > 0 ? 1 : blocks;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Tile(int columns, T* a, nint rs, nint ks, T* b, nint ldb, T* c, nint ldc, nint depth, nint chain, int blocks, bool add, T* max)
    {
        if (L.Count == 1)
        {
            // A panel is as wide as what a tile program writes at a time; two columns are what the accumulators of scalar code have registers for.
            for (int x = 0; x < columns; x += 2, max += max == null ? 0 : 2)
            {
                if (columns - x == 1)
                    RegisterTile<L, V, T, One>.Run(a, rs, ks, b + x, ldb, c + x, ldc, depth, chain, blocks, add, max);
                else
                    RegisterTile<L, V, T, Two>.Run(a, rs, ks, b + x, ldb, c + x, ldc, depth, chain, blocks, add, max);
            }
            return;
        }
        switch (columns / L.Count)
        {
            case 1:
                RegisterTile<L, V, T, One>.Run(a, rs, ks, b, ldb, c, ldc, depth, chain, blocks, add, max);
                break;
            case 2:
                RegisterTile<L, V, T, Two>.Run(a, rs, ks, b, ldb, c, ldc, depth, chain, blocks, add, max);
                break;
            case 3:
                RegisterTile<L, V, T, Three>.Run(a, rs, ks, b, ldb, c, ldc, depth, chain, blocks, add, max);
                break;
            default:
                RegisterTile<L, V, T, Four>.Run(a, rs, ks, b, ldb, c, ldc, depth, chain, blocks, add, max);
                break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int RoundUp(int n, int to) => (n + to - 1) / to * to;
}
