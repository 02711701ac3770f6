using System.Runtime.CompilerServices;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>Rows of one head of an operand, or of a tile: row r starts at Data + r * Stride (elements).</summary>
internal readonly unsafe struct Rows<T>(T* data, nint stride)
    where T : unmanaged
{
    public readonly T* Data = data;
    public readonly nint Stride = stride;

    /// <summary>Head h (batch entry h / heads, head h % heads) of an operand.</summary>
    public static Rows<T> OfHead(in TensorView view, int h, int heads)
        => new((T*)view.Data + h / heads * view.BatchStride + h % heads * view.HeadStride, (nint)view.RowStride);

    /// <summary>The head of key or value that query head h (batch entry h / heads) shares with its group.</summary>
    public static Rows<T> OfKeyHead(in TensorView view, int h, in AttentionProblem problem) => OfHead(view, h / problem.Group, problem.KeyHeadCount);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public T* At(int row) => Data + row * Stride;

    public Rows<T> From(int row) => new(At(row), Stride);
}
