namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>
/// One head of an operand in the caller's memory, rows of elements of <typeparamref name="T"/> or of the 16-bit type that is computed in it:
/// <see cref="Packing{L, V, T}"/> brings it into the shape and the type of the tiles, and their results back.
/// </summary>
internal readonly unsafe struct Stored<T>(byte* data, nint stride, ElementType type)
    where T : unmanaged
{
    /// <summary>Head h (batch entry h / heads, head h % heads) of an operand.</summary>
    public static Stored<T> OfHead(in TensorView view, int h, int heads, ElementType type)
        => new((byte*)view.Data + (h / heads * view.BatchStride + h % heads * view.HeadStride) * type.Size(), (nint)view.RowStride * type.Size(), type);

    /// <summary>The same of query or output.</summary>
    public static Stored<T> OfHead(in TensorView view, int h, in AttentionProblem problem) => OfHead(view, h, problem.Heads, problem.ElementType);

    /// <summary>The head of key or value that query head h (batch entry h / heads) shares with its group.</summary>
    public static Stored<T> OfKeyHead(in TensorView view, int h, in AttentionProblem problem) => OfHead(view, h / problem.Group, problem.KeyHeadCount, problem.ElementType);

    public ElementType Type => type;

    /// <summary>Whether the elements are of T: then there is no need to copy them.</summary>
    public bool IsOfT => type.Size() == sizeof(T);

    /// <summary>The elements where they lie, which are of T.</summary>
    public Matrix<T> InPlace => new((T*)data, stride / sizeof(T));

    public void* Row(int row) => data + row * stride;

    /// <summary>What lies below and to the right of an element.</summary>
    public Stored<T> From(int row, int column = 0) => new(data + row * stride + (nint)column * type.Size(), stride, type);

    /// <summary>Row = 0, d elements.</summary>
    public void Clear(int row, int d) => new Span<byte>(Row(row), d * type.Size()).Clear();
}
