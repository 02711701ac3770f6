using TorchSharp.Utils;
using static TorchSharp.torch;

namespace TorchSharp;

// A tensor in TorchSharp's files: LEB128 element type, number of dimensions and sizes, then the elements, row-major, little-endian.
public static partial class TensorExtensionMethods
{
    private const int BufferSize = 1 << 20;

    /// <summary>Writes a tensor's element type, shape and elements.</summary>
    /// <param name="tensor">The tensor.</param>
    /// <param name="writer">Where to.</param>
    public static void Save(this Tensor tensor, BinaryWriter writer)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        ArgumentNullException.ThrowIfNull(writer);
        using var inference = no_grad();
        using var scope = NewDisposeScope();
        var shape = tensor.shape;
        writer.Encode((long)tensor.dtype);
        writer.Encode(shape.Length);
        foreach (var size in shape) writer.Encode(size);
        writer.Flush();
        tensor.cpu().contiguous().WriteBytesToStream(writer.BaseStream, BufferSize);
    }

    /// <summary>Writes a tensor to a stream, and closes it.</summary>
    /// <param name="tensor">The tensor.</param>
    /// <param name="stream">A writable stream.</param>
    public static void Save(this Tensor tensor, Stream stream)
    {
        using var writer = new BinaryWriter(stream);
        tensor.Save(writer);
    }

    /// <summary>Writes a tensor to a file.</summary>
    /// <param name="tensor">The tensor.</param>
    /// <param name="location">Path of the file.</param>
    public static void Save(this Tensor tensor, string location) => tensor.Save(File.Create(location));

    /// <summary>Reads into a tensor.</summary>
    /// <param name="tensor">The tensor, of the element type and shape that were written.</param>
    /// <param name="reader">Where from.</param>
    /// <param name="skip">Whether to pass the elements over instead.</param>
    /// <exception cref="ArgumentException">Element type or shape are not those that were written.</exception>
    public static void Load(this Tensor tensor, BinaryReader reader, bool skip = false)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        ArgumentNullException.ThrowIfNull(reader);
        var (type, shape) = ReadHeader(reader);
        if (type != tensor.dtype) throw new ArgumentException($"Mismatched element types: the tensor is {tensor.dtype}, the stream holds {type}.", nameof(tensor));
        if (skip) SkipElements(reader, type, shape);
        else ReadElements(tensor, shape, reader);
    }

    /// <summary>Reads a new tensor.</summary>
    /// <param name="reader">Where from.</param>
    /// <param name="skip">Whether to pass the elements over and give zeros instead.</param>
    public static Tensor Load(BinaryReader reader, bool skip = false)
    {
        Tensor? tensor = null;
        Load(ref tensor, reader, skip);
        return tensor!;
    }

    /// <summary>Reads into a tensor, or a new one if there is none.</summary>
    /// <param name="tensor">The tensor, of the shape that was written, or null.</param>
    /// <param name="reader">Where from.</param>
    /// <param name="skip">Whether to pass the elements over and give zeros instead.</param>
    /// <exception cref="ArgumentException">Element type or shape are not those that were written.</exception>
    public static void Load(ref Tensor? tensor, BinaryReader reader, bool skip = false)
    {
        ArgumentNullException.ThrowIfNull(reader);
        var (type, shape) = ReadHeader(reader);
        if (tensor is not null && type != tensor.dtype)
        {
            throw new ArgumentException($"Mismatched element types: the tensor is {tensor.dtype}, the stream holds {type}.", nameof(tensor));
        }

        tensor ??= skip ? zeros(shape, type) : empty(shape, type);
        if (skip) SkipElements(reader, type, shape);
        else ReadElements(tensor, shape, reader);
    }

    private static (ScalarType Type, long[] Shape) ReadHeader(BinaryReader reader)
    {
        var type = (ScalarType)reader.Decode();
        var shape = new long[reader.Decode()];
        for (var i = 0; i < shape.Length; i++) shape[i] = reader.Decode();
        return (type, shape);
    }

    private static void ReadElements(Tensor tensor, long[] shape, BinaryReader reader)
    {
        if (!shape.AsSpan().SequenceEqual(tensor.shape))
        {
            throw new ArgumentException(
                $"Mismatched shapes: the tensor has ({string.Join(", ", tensor.shape)}), the stream holds ({string.Join(", ", shape)}).", nameof(tensor));
        }

        using var inference = no_grad();
        using var scope = NewDisposeScope();
        var direct = tensor.device_type == DeviceType.CPU && tensor.is_contiguous();
        var target = direct ? tensor : empty(shape, tensor.dtype);
        target.ReadBytesFromStream(reader.BaseStream, BufferSize);
        if (!direct) tensor.copy_(target);
    }

    private static void SkipElements(BinaryReader reader, ScalarType type, long[] shape)
    {
        var bytes = shape.Aggregate((long)type.ElementSize(), (product, size) => product * size);
        reader.BaseStream.Seek(bytes, SeekOrigin.Current);
    }
}

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
