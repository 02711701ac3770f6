namespace TorchFlash.Kernels.Tests.Support;

/// <summary>How an operand [B, H, N, d] lies in memory.</summary>
public enum Layout
{
    /// <summary>(B, H, N, d), dense.</summary>
    Contiguous,

    /// <summary>(B, N, H, d), dense: what a model's projections give before the heads are moved forward.</summary>
    Interleaved,

    /// <summary>Unused elements after every row, head and batch entry.</summary>
    Padded,

    /// <summary>Dense, but the first element is aligned to an element only.</summary>
    Misaligned,

    /// <summary>Rows, heads and batch entries run backwards through memory.</summary>
    Reversed,

    /// <summary>Dense, starting where the memory starts: the page before may not be touched.</summary>
    PageStart,

    /// <summary>Dense, ending where the memory ends: the page behind may not be touched.</summary>
    PageEnd,

    /// <summary>One head serves every head and batch entry (inputs only).</summary>
    SharedHeads,

    /// <summary>One row serves every row, head and batch entry, as the gradient of a sum (inputs only).</summary>
    SharedRow,
}

internal static class Layouts
{
    /// <summary>Those that an output may have.</summary>
    public static readonly Layout[] Writable = [.. Enum.GetValues<Layout>().Where(l => l < Layout.SharedHeads)];
}

/// <summary>Extent of an operand [B, H, N, d].</summary>
internal readonly record struct Shape(int Batch, int Heads, int Rows, int Width)
{
    /// <summary>Number of (logical) elements.</summary>
    public long Count => (long)Batch * Heads * Rows * Width;

    /// <summary>Element strides of batch, head and row in <paramref name="layout"/>.</summary>
    public (long Batch, long Head, long Row) Strides(Layout layout)
    {
        const int pad = 3;
        long row = Width, head = Rows * row, batch = Heads * head;
        long paddedRow = Width + pad, paddedHead = Rows * paddedRow + pad;
        return layout switch
        {
            Layout.Interleaved => (batch, row, Heads * row),
            Layout.Padded => (Heads * paddedHead + pad, paddedHead, paddedRow),
            Layout.Reversed => (-batch, -head, -row),
            Layout.SharedHeads => (0, 0, row),
            Layout.SharedRow => (0, 0, 0),
            _ => (batch, head, row),
        };
    }
}
