using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;

namespace TorchFlash.Cuda.Tests;

/// <summary>Reads initialised variables out of machine code for GPUs, which comes as an ELF file (64 bits, little-endian).</summary>
internal static class Cubin
{
    private const int SymbolTable = 2;

    /// <summary>An int array in constant or global memory.</summary>
    public static int[] ReadInts(ReadOnlySpan<byte> image, string name)
    {
        Assert.True(image.StartsWith("\u007fELF"u8), "not an ELF file");
        int sections = BinaryPrimitives.ReadUInt16LittleEndian(image[60..]);
        for (int i = 0; i < sections; i++)
        {
            Section table = Read(image, i);
            if (table.Type != SymbolTable)
                continue;
            ReadOnlySpan<byte> names = image[(int)Read(image, table.Link).Offset..];
            for (int at = (int)table.Offset; at < (int)(table.Offset + table.Size); at += 24)
            {
                ReadOnlySpan<byte> symbol = image[at..];
                ReadOnlySpan<byte> text = names[(int)BinaryPrimitives.ReadUInt32LittleEndian(symbol)..];
                if (Encoding.UTF8.GetString(text[..text.IndexOf((byte)0)]) != name)
                    continue;
                Section data = Read(image, BinaryPrimitives.ReadUInt16LittleEndian(symbol[6..]));
                long value = BinaryPrimitives.ReadInt64LittleEndian(symbol[8..]), size = BinaryPrimitives.ReadInt64LittleEndian(symbol[16..]);
                return MemoryMarshal.Cast<byte, int>(image.Slice((int)(data.Offset + value), (int)size)).ToArray();
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
