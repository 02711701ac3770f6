using System.Runtime.CompilerServices;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>A row-major matrix in memory, one head of an operand or a tile: row r starts at Data + r * Stride (elements).</summary>
internal readonly unsafe struct Matrix<T>(T* data, nint stride)
    where T : unmanaged
{
    public readonly T* Data = data;
    public readonly nint Stride = stride;

    /// <summary>Head h (batch entry h / heads, head h % heads) of an operand.</summary>
    public static Matrix<T> OfHead(in TensorView view, int h, int heads)
        => new((T*)view.Data + h / heads * view.BatchStride + h % heads * view.HeadStride, (nint)view.RowStride);

    /// <summary>The head of key or value that query head h (batch entry h / heads) shares with its group.</summary>
    public static Matrix<T> OfKeyHead(in TensorView view, int h, in AttentionProblem problem) => OfHead(view, h / problem.Group, problem.KeyHeadCount);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public T* Row(int row) => Data + row * Stride;

    /// <summary>What lies below and to the right of an element.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Matrix<T> From(int row, int column = 0) => new(Row(row) + column, Stride);

    /// <summary>So many elements of a row, from a column on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Span<T> Span(int row, int column, int count) => new(Row(row) + column, count);
}
