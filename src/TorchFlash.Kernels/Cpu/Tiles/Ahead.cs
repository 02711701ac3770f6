using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Scores;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>
/// Rows of memory that a pass will soon read or write. Products ask for the next few before each register tile: operands start on other pages than the
/// last ones ended on, where the processor foresees nothing, and a whole tile asked for at once is more than a core has buffers for.
/// </summary>
/// <param name="lines">How many cache lines to ask for at a time, or the rows that they make.</param>
internal sealed unsafe class Ahead(int lines)
{
    private const int CacheLine = 64;

    /// <summary>What a pass adds at most between two calls of <see cref="Clear"/>.</summary>
    private const int Capacity = 4;

    /// <summary>Bytes of the widest rows of an operand that it pays to ask for: a tile of wider ones fills the first-level cache by itself.</summary>
    private const int Widest = 256;

    private readonly Rows[] _queue = new Rows[Capacity];
    private int _next, _end;

    /// <param name="First">Address of the first one that has not been asked for.</param>
    /// <param name="Stride">Bytes from one to the next.</param>
    /// <param name="Bytes">Of each.</param>
    /// <param name="Count">How many.</param>
    /// <param name="AtATime">How many to ask for at a time.</param>
    private record struct Rows(nint First, nint Stride, int Bytes, int Count, int AtATime);

    /// <summary>Forgets what has not been asked for.</summary>
    public void Clear() => _next = _end = 0;

    /// <summary>So many rows, after all others.</summary>
    /// <exception cref="IndexOutOfRangeException">There are too many others already.</exception>
    public void Add(void* first, nint stride, int bytes, int count)
    {
        if (bytes > 0 && count > 0)
            _queue[_end++] = new((nint)first, stride, bytes, count, Math.Max(1, lines * CacheLine / bytes));
    }

    /// <summary>So many rows of d elements of an operand, after all others, where it pays.</summary>
    public void Add<T>(Stored<T> x, int rows, int d) where T : unmanaged
    {
        int bytes = d * x.Type.Size();
        if (bytes <= Widest)
            Add(x.Row(0), x.Stride, bytes, rows);
    }

    /// <summary>Asks for the next rows, and says how many they are.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Next() => _next == _end ? 0 : Ask();

    [MethodImpl(MethodImplOptions.NoInlining)]
    private int Ask()
    {
        ref Rows rows = ref _queue[_next];
        int count = Math.Min(rows.AtATime, rows.Count);
        byte* row = (byte*)rows.First;
        for (int n = count; n > 0; n--, row += rows.Stride)
        {
            for (int x = 0; x < rows.Bytes; x += CacheLine)
                TileMemory.Prefetch(row + x);
        }
        rows.First = (nint)row;
        rows.Count -= count;
        if (rows.Count == 0)
            _next++;
        return count;
    }
}
