using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>Loops of register tiles over the panels of a product, and their masked edges.</summary>
internal static unsafe class Panels<V, T>
    where V : unmanaged, ILanes<V, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Rows of the register tile.</summary>
    public const int TileRows = 6;

    /// <summary>Columns of the register tile.</summary>
    public static int Width
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => V.TileVectors * V.Count;
    }

    /// <summary>Columns of a row-major tile that holds n of them: whole registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int PadColumns(int n) => RoundUp(n, V.Count);

    /// <summary>Rows of a tile that register tiles of it touch.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int PadRows(int n) => RoundUp(n, TileRows);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int RoundUp(int n, int to) => (n + to - 1) / to * to;

    /// <summary>A row stride for n columns that is an odd number of cache lines: rows one below the other do not share a set.</summary>
    public static int OddLines(int n)
    {
        int line = Math.Max(V.Count, 64 / sizeof(T));
        return ((n + line - 1) / line | 1) * line;
    }

    /// <summary>Register tiles of so many vectors, one below the other; see <see cref="RegisterTile{V, T, N, E}.Run"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Tile<E>(int vectors, T* a, nint rs, nint ks, T* b, nint ldb, T* c, nint ldc, nint depth, T* e, T* exponent, int blocks = 1, T* mask = null, nint maskStep = 0)
        where E : struct, IEpilogue<V, T>
    {
        switch (vectors)
        {
            case 1:
                RegisterTile<V, T, One, E>.Run(a, rs, ks, b, ldb, c, ldc, depth, e, exponent, mask, maskStep, blocks);
                break;
            case 2:
                RegisterTile<V, T, Two, E>.Run(a, rs, ks, b, ldb, c, ldc, depth, e, exponent, mask, maskStep, blocks);
                break;
            case 3:
                RegisterTile<V, T, Three, E>.Run(a, rs, ks, b, ldb, c, ldc, depth, e, exponent, mask, maskStep, blocks);
                break;
            default:
                RegisterTile<V, T, Four, E>.Run(a, rs, ks, b, ldb, c, ldc, depth, e, exponent, mask, maskStep, blocks);
                break;
        }
    }

    /// <summary>Six rows of C, blocks times, over all its columns (a whole number of registers), B row-major.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Rows<E>(int columns, T* a, nint rs, nint ks, T* b, nint ldb, T* c, nint ldc, nint depth, T* e, int blocks)
        where E : struct, IEpilogue<V, T>
    {
        for (int x = 0; x < columns; x += Width)
            Tile<E>(Math.Min(Width, columns - x) / V.Count, a, rs, ks, b + x, ldb, c + x, ldc, depth, e, null, blocks);
    }

    /// <summary>
    /// C(r, :) += A(r, k) B(k, :) for k in [from, to) of one row: the few terms that a row of six has and the others have not where
    /// the diagonal cuts them. Masked pairs take no part in any product, so that a NaN there reaches nobody.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Row(int columns, T* a, nint ks, T* b, nint ldb, T* c, int from, int to)
    {
        for (int x = 0; x < columns && from < to; x += V.Count)
        {
            V sum = V.Load(c + x);
            for (int k = from; k < to; k++)
                sum = V.MultiplyAdd(V.Broadcast(a[k * ks]), V.Load(b + k * ldb + x), sum);
            V.Store(c + x, sum);
        }
    }
}
