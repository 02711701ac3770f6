using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace Gpt2.Training;

/// <summary>
/// Named tensors and text in one file, in the safetensors format: the header's length (8 bytes, little-endian), the header
/// (JSON: dtype, shape and byte range of each tensor, and <c>__metadata__</c>), then the tensors' bytes without gaps.
/// </summary>
public sealed class TensorFile : IDisposable
{
    private const string MetadataKey = "__metadata__";
    private const int MaximumHeaderLength = 100_000_000;
    private const int CopyBufferLength = 1 << 20;

    private static readonly Dictionary<string, ScalarType> Types = new()
    {
        ["F64"] = ScalarType.Float64,
        ["F32"] = ScalarType.Float32,
        ["I64"] = ScalarType.Int64,
        ["U8"] = ScalarType.Byte,
    };

    private readonly FileStream _stream;
    private readonly Dictionary<string, Entry> _entries;

    private TensorFile(FileStream stream, Dictionary<string, Entry> entries, IReadOnlyDictionary<string, string> metadata)
    {
        (_stream, _entries, Metadata) = (stream, entries, metadata);
    }

    private sealed record Entry(ScalarType Type, long[] Shape, long Offset, long Length);

    /// <summary>The text entries.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>The tensors' names, in the order of their bytes.</summary>
    public IReadOnlyCollection<string> Names => _entries.Keys;

    /// <summary>Writes a file, replacing an old one only when the new one is complete.</summary>
    /// <exception cref="ArgumentException">A tensor has an element type that this class does not store.</exception>
    public static void Write(string path, IReadOnlyDictionary<string, string> metadata, IReadOnlyList<(string Name, Tensor Tensor)> tensors)
    {
        var header = new JsonObject { [MetadataKey] = JsonSerializer.SerializeToNode(metadata) };
        long offset = 0;
        foreach ((string name, Tensor tensor) in tensors)
        {
            string type = Types.FirstOrDefault(pair => pair.Value == tensor.dtype).Key
                ?? throw new ArgumentException($"Tensor '{name}' is of type {tensor.dtype}, which is not stored.", nameof(tensors));
            long end = offset + (tensor.NumberOfElements * tensor.ElementSize);
            header[name] = new JsonObject
            {
                ["dtype"] = type,
                ["shape"] = JsonSerializer.SerializeToNode(tensor.shape),
                ["data_offsets"] = new JsonArray(offset, end),
            };
            offset = end;
        }

        byte[] headerBytes = Encoding.UTF8.GetBytes(header.ToJsonString());
        AtomicFile.Write(path, stream =>
        {
            Span<byte> length = stackalloc byte[sizeof(ulong)];
            BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)headerBytes.Length);
            stream.Write(length);
            stream.Write(headerBytes);
            foreach ((_, Tensor tensor) in tensors)
            {
                using Tensor contiguous = tensor.detach().cpu().contiguous();
                contiguous.WriteBytesToStream(stream, CopyBufferLength);
            }
        });
    }

    /// <summary>Opens a file and checks its structure; the tensors are read by <see cref="CopyTo"/>.</summary>
    /// <exception cref="UserException">It cannot be read, is not of this format, or is not complete.</exception>
    public static TensorFile Open(string path)
    {
        FileStream stream;
        try
        {
            stream = File.OpenRead(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"Cannot read the checkpoint: {e.Message}", e);
        }

        try
        {
            return Parse(stream);
        }
        catch (Exception e) when (e is InvalidDataException or JsonException or InvalidOperationException
            or FormatException or OverflowException or IOException)
        {
            stream.Dispose();
            throw new UserException($"{path} is not a checkpoint, or is damaged: {e.Message}", e);
        }
    }

    /// <summary>Copies a stored tensor's values into <paramref name="destination"/>.</summary>
    /// <exception cref="UserException">There is no such tensor, or it has another shape or element type.</exception>
    public void CopyTo(string name, Tensor destination)
    {
        if (!_entries.TryGetValue(name, out Entry? entry))
            throw new UserException($"{_stream.Name} has no tensor '{name}'.");
        if (entry.Type != destination.dtype || !entry.Shape.AsSpan().SequenceEqual(destination.shape))
        {
            throw new UserException(
                $"{_stream.Name}: '{name}' is {entry.Type} ({string.Join(", ", entry.Shape)}), " +
                $"the model has {destination.dtype} ({string.Join(", ", destination.shape)}).");
        }

        _stream.Position = entry.Offset;
        using Tensor stored = empty(entry.Shape, entry.Type);
        stored.ReadBytesFromStream(_stream, CopyBufferLength);
        using (no_grad())
        {
            destination.copy_(stored);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _stream.Dispose();

    private static TensorFile Parse(FileStream stream)
    {
        Span<byte> lengthBytes = stackalloc byte[sizeof(ulong)];
        if (stream.ReadAtLeast(lengthBytes, sizeof(ulong), throwOnEndOfStream: false) < sizeof(ulong))
            throw new InvalidDataException("the header's length is missing.");
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(lengthBytes);
        if (length > MaximumHeaderLength || (long)length > stream.Length - sizeof(ulong))
            throw new InvalidDataException("the header is longer than the file.");

        var headerBytes = new byte[length];
        stream.ReadExactly(headerBytes);
        JsonObject header = JsonNode.Parse(headerBytes)?.AsObject() ?? throw new InvalidDataException("the header is empty.");

        var metadata = new Dictionary<string, string>();
        var entries = new Dictionary<string, Entry>();
        long start = stream.Position, end = start;
        foreach ((string name, JsonNode? node) in header)
        {
            if (name == MetadataKey)
            {
                foreach ((string key, JsonNode? value) in node!.AsObject()) metadata.Add(key, value!.GetValue<string>());
                continue;
            }

            Entry entry = ParseEntry(name, node!.AsObject(), start);
            entries.Add(name, entry);
            end = Math.Max(end, entry.Offset + entry.Length);
        }

        if (end != stream.Length) throw new InvalidDataException($"it has {stream.Length:N0} bytes and should have {end:N0}.");
        return new TensorFile(stream, entries, metadata);
    }

    private static Entry ParseEntry(string name, JsonObject node, long start)
    {
        string typeName = node["dtype"]?.GetValue<string>() ?? "";
        long[]? shape = node["shape"].Deserialize<long[]>();
        long[]? range = node["data_offsets"].Deserialize<long[]>();
        if (!Types.TryGetValue(typeName, out ScalarType type) || shape is null || range is not [>= 0, _] || range[1] < range[0])
            throw new InvalidDataException($"tensor '{name}' is described wrongly.");

        int elementSize = type switch { ScalarType.Byte => 1, ScalarType.Float32 => 4, _ => 8 };
        if (shape.Any(size => size < 0) || shape.Aggregate((long)elementSize, (product, size) => checked(product * size)) != range[1] - range[0])
            throw new InvalidDataException($"the byte range of tensor '{name}' does not fit its shape.");
        return new Entry(type, shape, start + range[0], range[1] - range[0]);
    }
}
