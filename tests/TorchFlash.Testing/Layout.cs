namespace TorchFlash.Testing;

/// <summary>How an operand [B, H, N, d] lies in memory.</summary>
public enum Layout
{
    /// <summary>(B, H, N, d), dense.</summary>
    Contiguous,

    /// <summary>(B, N, H, d), dense: what a model's projections give before the heads are moved forward.</summary>
    Interleaved,

    /// <summary>Three unused elements after every row, head and batch entry.</summary>
    Padded,

    /// <summary>Unused elements after every row, head and batch entry; rows start at multiples of 16 bytes where d is a multiple of 8.</summary>
    Gaps,

    /// <summary>Dense, but the first element is aligned to an element only.</summary>
    Misaligned,

    /// <summary>Padded and misaligned: rows and heads are not at multiples of anything.</summary>
    Odd,

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
    /// <summary>Those that an output of the CPU engine may have.</summary>
    public static readonly Layout[] Writable = [.. Enum.GetValues<Layout>().Where(IsWritable).Except([Layout.Gaps, Layout.Odd])];

    /// <summary>Those that make a difference on a GPU.</summary>
    public static readonly Layout[] OfDevices =
        [Layout.Contiguous, Layout.Interleaved, Layout.Gaps, Layout.Odd, Layout.Reversed, Layout.SharedHeads, Layout.SharedRow];

    /// <summary>Whether an output may have it.</summary>
    public static bool IsWritable(this Layout layout) => layout < Layout.SharedHeads;
}

/// <summary>Extent of an operand [B, H, N, d].</summary>
internal readonly record struct Shape(int Batch, int Heads, int Rows, int Width)
{
    /// <summary>Number of (logical) elements.</summary>
    public long Count => (long)Batch * Heads * Rows * Width;

    /// <summary>Element strides of batch, head and row in <paramref name="layout"/>.</summary>
    public (long Batch, long Head, long Row) Strides(Layout layout)
    {
        long row = Width, head = Rows * row, batch = Heads * head;
        return layout switch
        {
            Layout.Interleaved => (batch, row, Heads * row),
            Layout.Padded or Layout.Odd => Spaced(3, 3, 3),
            Layout.Gaps => Spaced(16, 8, 24),
            Layout.Reversed => (-batch, -head, -row),
            Layout.SharedHeads => (0, 0, row),
            Layout.SharedRow => (0, 0, 0),
            _ => (batch, head, row),
        };
    }

    private (long Batch, long Head, long Row) Spaced(int afterRow, int afterHead, int afterBatch)
    {
        long row = Width + afterRow, head = Rows * row + afterHead;
        return (Heads * head + afterBatch, head, row);
    }
}
