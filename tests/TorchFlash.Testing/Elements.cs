using System.Buffers.Binary;

namespace TorchFlash.Testing;

/// <summary>Values of every element type, as double.</summary>
internal static class Elements
{
    /// <summary>Half the distance of 1 to its upper neighbour.</summary>
    public static double UnitRoundoff(this ElementType type) => Math.ScaleB(1, type switch
    {
        ElementType.BFloat16 => -8,
        ElementType.Float16 => -11,
        ElementType.Float32 => -24,
        _ => -53,
    });

    /// <summary>Half the distance of 0 to its upper neighbour.</summary>
    public static double Underflow(this ElementType type) => type switch
    {
        ElementType.Float16 => Math.ScaleB(1, -25),
        ElementType.Float64 => 0,
        _ => Math.ScaleB(1, -126), // subnormal numbers are 0 in places
    };

    /// <summary>The nearest value of the type.</summary>
    public static double Round(this ElementType type, double value) => type switch
    {
        ElementType.BFloat16 => FromBFloat16(ToBFloat16((float)value)),
        ElementType.Float16 => (double)(Half)value,
        ElementType.Float32 => (float)value,
        _ => value,
    };

    public static void Write(ElementType type, Span<byte> to, double value)
    {
        switch (type)
        {
            case ElementType.BFloat16:
                BinaryPrimitives.WriteUInt16LittleEndian(to, ToBFloat16((float)value));
                break;
            case ElementType.Float16:
                BinaryPrimitives.WriteHalfLittleEndian(to, (Half)value);
                break;
            case ElementType.Float32:
                BinaryPrimitives.WriteSingleLittleEndian(to, (float)value);
                break;
            default:
                BinaryPrimitives.WriteDoubleLittleEndian(to, value);
                break;
        }
    }

    public static double Read(ElementType type, ReadOnlySpan<byte> from) => type switch
    {
        ElementType.BFloat16 => FromBFloat16(BinaryPrimitives.ReadUInt16LittleEndian(from)),
        ElementType.Float16 => (double)BinaryPrimitives.ReadHalfLittleEndian(from),
        ElementType.Float32 => BinaryPrimitives.ReadSingleLittleEndian(from),
        _ => BinaryPrimitives.ReadDoubleLittleEndian(from),
    };

    /// <summary>To nearest, ties to even; NaN stays NaN.</summary>
    private static ushort ToBFloat16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? (ushort)0x7FC0 : (ushort)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }

    private static double FromBFloat16(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);
}
