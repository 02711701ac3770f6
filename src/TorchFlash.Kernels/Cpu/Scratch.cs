using System.Collections.Concurrent;
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

    private static readonly ConcurrentBag<Scratch> s_free = [];

    private byte* _data;
    private nuint _size;
    private nuint _used;

    private Scratch(nuint size)
    {
        _size = size;
        _data = (byte*)NativeMemory.AlignedAlloc(size, Alignment);
        NativeMemory.Clear(_data, size);
    }

    ~Scratch() => NativeMemory.AlignedFree(_data);

    /// <summary>A block of at least so many bytes; its contents are whatever a former user left (finite or not).</summary>
    /// <exception cref="OutOfMemoryException">There is no such block to be had.</exception>
    public static Scratch Rent(nuint bytes)
    {
        if (s_free.TryTake(out Scratch? block))
        {
            if (block._size >= bytes)
            {
                block._used = 0;
                return block;
            }
            block.Free();
        }
        return new Scratch(bytes);
    }

    /// <summary>The next n elements of the block, on a cache line of their own.</summary>
    public T* Take<T>(long n) where T : unmanaged
    {
        byte* start = _data + _used;
        _used += Bytes<T>(n);
        if (_used > _size)
            throw new InvalidOperationException($"Scratch of {_size} bytes is too small: {_used} bytes taken.");
        return (T*)start;
    }

    /// <summary>Bytes that <see cref="Take{T}"/> of n elements uses.</summary>
    public static nuint Bytes<T>(long n) where T : unmanaged => ((nuint)n * (nuint)sizeof(T) + 127) & ~(nuint)63;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (s_free.Count < Kept && _size <= LargestKept)
            s_free.Add(this);
        else
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
