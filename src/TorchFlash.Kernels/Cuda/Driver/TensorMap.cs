using System.Runtime.InteropServices;

namespace TorchFlash.Kernels.Cuda;

/// <summary>
/// A tensor as Hopper's copy engine addresses it (CUtensorMap): {d, N, H, B}, innermost first, fetched in boxes of columns x rows. 128 bytes at
/// a multiple of 64, passed to the kernel by value.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = Bytes)]
internal struct TensorMap
{
    public const int Bytes = 128, Alignment = 64;
}

/// <summary>An operand with its extent, for alignment checks and tensor maps.</summary>
internal readonly struct SizedView
{
    /// <summary>A stride that is never applied may be anything; 0 is a multiple of all.</summary>
    public SizedView(in TensorView view, int batch, int heads, int length, int width)
    {
        bool any = batch > 0 && heads > 0 && length > 0;
        Batch = batch;
        Heads = heads;
        Length = length;
        Width = width;
        View = new View
        {
            Data = view.Data,
            Batch = any && batch > 1 ? view.BatchStride : 0,
            Head = any && heads > 1 ? view.HeadStride : 0,
            Row = any && length > 1 ? view.RowStride : 0,
        };
    }

    public View View { get; }

    public int Batch { get; }

    public int Heads { get; }

    /// <summary>Queries or keys.</summary>
    public int Length { get; }

    public int Width { get; }

    /// <summary>Whether every row starts at a multiple of 16 bytes, with strides of whole multiples of 8 elements.</summary>
    public bool IsAligned => View.Data % 16 == 0 && View.Batch % 8 == 0 && View.Head % 8 == 0 && View.Row % 8 == 0;

    /// <summary>Why no tensor map can describe it (16-bit elements), null where one can: strides must be above 0 and below 2^40 bytes.</summary>
    public string? WhyNotMappable =>
        !IsAligned ? "rows that do not all start at multiples of 16 bytes"
        : !HasElements ? "no elements"
        : Unmappable(Batch, View.Batch) ?? Unmappable(Heads, View.Head) ?? Unmappable(Length, View.Row);

    private bool HasElements => Batch > 0 && Heads > 0 && Length > 0;

    private static string? Unmappable(int size, long stride) =>
        size == 1 || stride > 0 && stride < (1L << 40) / sizeof(ushort) ? null
        : stride == 0 ? "a stride of 0 (expanded)" : stride < 0 ? "a negative stride" : "a stride of a TiB";

    /// <summary>Fills the map.</summary>
    public unsafe void Encode(CudaDriver driver, TensorMap* map, ElementType type, int boxColumns, int boxLength)
    {
        const int float16 = 6, bfloat16 = 9;
        const int swizzle32 = 1, swizzle64 = 2, swizzle128 = 3;
        ulong* sizes = stackalloc ulong[4] { (ulong)Width, (ulong)Length, (ulong)Heads, (ulong)Batch };
        ulong* strides = stackalloc ulong[3] { Stride(Length, View.Row), Stride(Heads, View.Head), Stride(Batch, View.Batch) };
        uint* box = stackalloc uint[4] { (uint)boxColumns, (uint)boxLength, 1, 1 };
        int swizzle = (boxColumns * sizeof(ushort)) switch
        {
            128 => swizzle128,
            64 => swizzle64,
            32 => swizzle32,
            int bytes => throw new InvalidOperationException($"A box row of {bytes} bytes has no swizzle."),
        };
        driver.EncodeTiled(map, type == ElementType.BFloat16 ? bfloat16 : float16, View.Data, sizes, strides, box, swizzle);
    }

    /// <summary>In bytes; of a dimension of size 1 any multiple of 16 that is not 0.</summary>
    private ulong Stride(int size, long stride) => size == 1 ? (ulong)(Width + 7) / 8 * 16 : (ulong)stride * sizeof(ushort);
}

/// <summary>An operand that a kernel gets a tensor map of; the boxes of queries (Q, dO) and keys (K, V) differ in height.</summary>
internal readonly record struct MappedView(string Name, SizedView View, bool IsOfKeys)
{
    public static MappedView OfQueries(string name, in SizedView view) => new(name, view, false);

    public static MappedView OfKeys(string name, in SizedView view) => new(name, view, true);
}
