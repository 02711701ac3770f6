using System.Buffers.Binary;

namespace TorchFlash.Kernels.Cuda;

/// <summary>
/// Machine code as NVRTC makes it, an ELF file (64 bits, little-endian). What it says of a kernel need not be copied from the device, which would
/// wait for all work under way and is forbidden while a graph is captured.
/// </summary>
internal static class Cubin
{
    private const int SymbolTable = 2, SymbolBytes = 24;

    /// <summary>Whether the image is machine code: not PTX.</summary>
    public static bool Is(ReadOnlySpan<byte> image) => image.StartsWith("\u007fELF"u8);

    /// <summary>The bytes of an initialised variable or of a function.</summary>
    /// <param name="image">A whole file.</param>
    /// <param name="name">Of the symbol.</param>
    /// <exception cref="InvalidOperationException">There is no such symbol.</exception>
    public static ReadOnlySpan<byte> Symbol(ReadOnlySpan<byte> image, string name)
    {
        byte[] wanted = System.Text.Encoding.UTF8.GetBytes(name + '\0');
        int sections = BinaryPrimitives.ReadUInt16LittleEndian(image[60..]);
        for (int i = 0; i < sections; i++)
        {
            Section table = Read(image, i);
            if (table.Type != SymbolTable)
                continue;
            ReadOnlySpan<byte> names = image[(int)Read(image, table.Link).Offset..];
            for (ReadOnlySpan<byte> symbols = image.Slice((int)table.Offset, (int)table.Size); symbols.Length >= SymbolBytes; symbols = symbols[SymbolBytes..])
            {
                if (!names[(int)BinaryPrimitives.ReadUInt32LittleEndian(symbols)..].StartsWith(wanted))
                    continue;
                Section data = Read(image, BinaryPrimitives.ReadUInt16LittleEndian(symbols[6..]));
                long value = BinaryPrimitives.ReadInt64LittleEndian(symbols[8..]), size = BinaryPrimitives.ReadInt64LittleEndian(symbols[16..]);
                return image.Slice((int)(data.Offset + value), (int)size);
            }
        }
        throw new InvalidOperationException($"The machine code has no {name}.");
    }

    private static Section Read(ReadOnlySpan<byte> image, int index)
    {
        int table = (int)BinaryPrimitives.ReadInt64LittleEndian(image[40..]), entry = BinaryPrimitives.ReadUInt16LittleEndian(image[58..]);
        ReadOnlySpan<byte> section = image[(table + index * entry)..];
        return new Section(
            BinaryPrimitives.ReadInt32LittleEndian(section[4..]), BinaryPrimitives.ReadInt64LittleEndian(section[24..]),
            BinaryPrimitives.ReadInt64LittleEndian(section[32..]), BinaryPrimitives.ReadInt32LittleEndian(section[40..]));
    }

    private readonly record struct Section(int Type, long Offset, long Size, int Link);
}
