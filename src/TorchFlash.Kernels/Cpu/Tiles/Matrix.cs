using System.Runtime.CompilerServices;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>A row-major matrix in memory: row r starts at Data + r * Stride (elements).</summary>
internal readonly unsafe struct Matrix<T>(T* data, nint stride)
    where T : unmanaged
{
    public readonly T* Data = data;
    public readonly nint Stride = stride;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public T* Row(int row) => Data + row * Stride;

    /// <summary>What lies below and to the right of an element.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Matrix<T> From(int row, int column = 0) => new(Row(row) + column, Stride);

    /// <summary>So many elements of a row, from a column on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Span<T> Span(int row, int column, int count) => new(Row(row) + column, count);
}
