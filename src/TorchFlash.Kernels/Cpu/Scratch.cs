using System.Runtime.InteropServices;

namespace TorchFlash.Kernels.Cpu;

/// <summary>A page-aligned block of native memory, kept for the next pass when it is disposed.</summary>
internal unsafe sealed class Scratch : IDisposable
{
    private const int Alignment = 4096;

    /// <summary>Blocks kept: as many as passes ran at the same time, at most this many; the rest is freed.</summary>
    private const int Kept = 64;

    /// <summary>Larger blocks (the row scalars of a very long problem) are not kept.</summary>
    private const int LargestKept = 16 << 20;

    private static readonly Stack<Scratch> s_free = [];

    private byte* _data;
    private nuint _size;

    private Scratch(nuint size)
    {
        _size = size;
        _data = (byte*)NativeMemory.AlignedAlloc(size, Alignment);
        NativeMemory.Clear(_data, size);
    }

    ~Scratch() => NativeMemory.AlignedFree(_data);

    /// <summary>A block for what a layout takes; its contents are whatever a former user left (finite or not).</summary>
    /// <param name="layout">Takes the parts, always the same ones: called once to measure and once to lay out.</param>
    /// <param name="parts">What the layout made of them.</param>
    /// <exception cref="OutOfMemoryException">There is no such block to be had.</exception>
    public static Scratch Rent<TParts>(Func<Cursor, TParts> layout, out TParts parts)
    {
        var measure = new Cursor(null);
        layout(measure);
        Scratch block = Rent(measure.Used);
        parts = layout(new Cursor(block._data));
        return block;
    }

    /// <summary>The same, for a layout that keeps the parts itself.</summary>
    public static Scratch Rent(Action<Cursor> layout)
        => Rent(
            cursor =>
            {
                layout(cursor);
                return true;
            },
            out _);

    private static Scratch Rent(nuint bytes)
    {
        Scratch? block;
        lock (s_free)
            s_free.TryPop(out block);
        if (block?._size >= bytes)
            return block;
        block?.Free();
        return new Scratch(bytes);
    }

    /// <summary>Hands out the parts of a block, one after the other.</summary>
    internal sealed class Cursor(byte* start)
    {
        /// <summary>Whether the parts have no memory yet.</summary>
        public bool IsMeasuring => start is null;

        /// <summary>Bytes handed out.</summary>
        public nuint Used { get; private set; }

        /// <summary>The next n elements, on a cache line of their own.</summary>
        public T* Take<T>(long n) where T : unmanaged
        {
            byte* part = start + Used;
            Used += ((nuint)n * (nuint)sizeof(T) + 127) & ~(nuint)63;
            return (T*)part;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (s_free)
        {
            if (s_free.Count < Kept && _size <= LargestKept)
            {
                s_free.Push(this);
                return;
            }
        }
        Free();
    }

    private void Free()
    {
        NativeMemory.AlignedFree(_data);
        _data = null;
        _size = 0;
        GC.SuppressFinalize(this);
    }
}
