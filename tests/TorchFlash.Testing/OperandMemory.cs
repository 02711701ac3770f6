namespace TorchFlash.Testing;

/// <summary>Where operands lie.</summary>
internal interface IOperandMemory
{
    /// <summary>Bytes before and behind the elements that show stray writes; 0 where the memory itself tells of them.</summary>
    int GuardBytes { get; }

    /// <summary>Allocations are of whole multiples of so many bytes.</summary>
    int Granularity => 1;

    /// <summary>Whether memory that nobody has written yet is known, and reading it an error.</summary>
    bool TellsOfUnwritten => false;

    nint Allocate(long bytes);

    void Free(nint address);

    void Write(nint address, ReadOnlySpan<byte> bytes);

    void Read(nint address, Span<byte> bytes);

    /// <summary>These bytes are no element's: they may be neither read nor written.</summary>
    void MarkGap(nint address, long bytes)
    {
    }

    /// <summary>These bytes may be read, but not written.</summary>
    void MarkInput(nint address, long bytes)
    {
    }
}

/// <summary>The host's, in pages between two that may not be touched.</summary>
internal sealed unsafe class HostMemory : IOperandMemory
{
    private readonly Dictionary<nint, FencedPages> _pages = [];

    public int GuardBytes => 512;

    public int Granularity => Environment.SystemPageSize;

    public nint Allocate(long bytes)
    {
        var pages = new FencedPages((nint)bytes);
        _pages.Add((nint)pages.Start, pages);
        return (nint)pages.Start;
    }

    public void Free(nint address)
    {
        _pages.Remove(address, out FencedPages? pages);
        pages!.Dispose();
    }

    public void Write(nint address, ReadOnlySpan<byte> bytes) => bytes.CopyTo(new Span<byte>((void*)address, bytes.Length));

    public void Read(nint address, Span<byte> bytes) => new ReadOnlySpan<byte>((void*)address, bytes.Length).CopyTo(bytes);
}
