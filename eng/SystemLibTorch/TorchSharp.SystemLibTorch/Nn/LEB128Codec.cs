namespace TorchSharp.Utils;

/// <summary>LEB128, the variable-length integers of TorchSharp's files: seven bits a byte, low ones first, the top bit set on all but the last.</summary>
internal static class LEB128Codec
{
    /// <summary>Writes a non-negative number.</summary>
    internal static void Encode(this BinaryWriter writer, long value)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(value);
        writer.Write7BitEncodedInt64(value);
    }

    /// <summary>Reads a number.</summary>
    /// <exception cref="FormatException">The bytes are no such number.</exception>
    internal static long Decode(this BinaryReader reader) => reader.Read7BitEncodedInt64();
}
