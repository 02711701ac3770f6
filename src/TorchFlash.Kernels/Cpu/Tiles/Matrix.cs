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

/// <summary>Rows packed as B of a product with their transpose: in panels, or as they are; see <see cref="Arithmetic{L, V, T}.Pack"/>.</summary>
/// <param name="data">Panels of words, as many in a column as the stride says; or the rows.</param>
/// <param name="rows">How many rows there are: columns of the product.</param>
internal readonly unsafe struct Packed<T>(Matrix<T> data, int rows)
    where T : unmanaged
{
    /// <summary>The rows, where they are in no panels.</summary>
    public Matrix<T> Data => data;

    public int Rows => rows;

    /// <summary>Where a column begins in its panel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public T* Panel(int column, int width) => data.Data + column / width * width * data.Stride + column % width;
}
