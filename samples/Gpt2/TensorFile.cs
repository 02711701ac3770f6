using System.Buffers.Binary;
using System.Text.Json.Nodes;
using System.Text.Json;
using System.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Gpt2;

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
    private readonly long _start;
    private readonly Dictionary<string, Entry> _entries;

    private TensorFile(FileStream stream, Dictionary<string, Entry> entries, IReadOnlyDictionary<string, string> metadata)
    {
        (_stream, _start, _entries, Metadata) = (stream, stream.Position, entries, metadata);
    }

    private sealed record Entry(ScalarType Type, long[] Shape, long Start, long End);

    /// <summary>The text entries.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>The file.</summary>
    public string Path => _stream.Name;

    /// <summary>The size of each tensor in bytes.</summary>
    public IEnumerable<(string Name, long Length)> Lengths => _entries.Select(named => (named.Key, named.Value.End - named.Value.Start));

    /// <summary>Writes a file.</summary>
    /// <exception cref="ArgumentException">A tensor has an element type that this class does not store.</exception>
    /// <exception cref="UserException">The header is larger than the format allows.</exception>
    public static void Write(Stream stream, IReadOnlyDictionary<string, string> metadata, IReadOnlyList<(string Name, Tensor Tensor)> tensors)
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
        if (headerBytes.Length > MaximumHeaderLength)
            throw new UserException($"The run is too long to be saved: its losses take more than the {MaximumHeaderLength:N0} bytes of a header.");
        Span<byte> length = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)headerBytes.Length);
        stream.Write(length);
        stream.Write(headerBytes);
        foreach ((_, Tensor tensor) in tensors)
        {
            using Tensor contiguous = tensor.detach().cpu().contiguous();
            contiguous.WriteBytesToStream(stream, CopyBufferLength);
        }
    }

    /// <summary>Opens a file and checks its structure; the tensors are read by <see cref="CopyTo"/>.</summary>
    /// <exception cref="UserException">It cannot be read, is not of this format, or is not complete.</exception>
    public static TensorFile Open(string path)
    {
        FileStream stream = RegularFile.OpenRead(path, "--checkpoint");
        try
        {
            return Parse(stream);
        }
        catch (Exception e) when (e is InvalidDataException or JsonException or InvalidOperationException or FormatException or IOException)
        {
            stream.Dispose();
            throw new UserException($"--checkpoint: {path} is not a checkpoint, or is damaged: {e.Message}", e);
        }
    }

    /// <summary>Copies a stored tensor's values into <paramref name="destination"/>.</summary>
    /// <exception cref="UserException">There is no such tensor, it has another shape or element type, or its values are not all finite.</exception>
    public void CopyTo(string name, Tensor destination)
    {
        if (!_entries.TryGetValue(name, out Entry? entry))
            throw new UserException($"{Path} has no tensor '{name}'.");
        if (entry.Type != destination.dtype || !entry.Shape.AsSpan().SequenceEqual(destination.shape))
        {
            throw new UserException(
                $"{Path}: '{name}' is {entry.Type} ({string.Join(", ", entry.Shape)}), " +
                $"the model has {destination.dtype} ({string.Join(", ", destination.shape)}).");
        }

        using DisposeScope scope = NewDisposeScope();
        Tensor stored = empty(entry.Shape, entry.Type);
        try
        {
            _stream.Position = _start + entry.Start;
            stored.ReadBytesFromStream(_stream, CopyBufferLength);
        }
        catch (IOException e)
        {
            throw new UserException($"{Path}: '{name}' cannot be read: {e.Message}", e);
        }

        if (!stored.isfinite().all().item<bool>()) throw new UserException($"{Path} is damaged: '{name}' has values that are not finite.");
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
        JsonNode? header = JsonNode.Parse(headerBytes, documentOptions: new JsonDocumentOptions { AllowDuplicateProperties = false });
        if (header is not JsonObject) throw new InvalidDataException("the header is not an object.");

        var metadata = new Dictionary<string, string>();
        var entries = new Dictionary<string, Entry>();
        foreach ((string name, JsonNode? node) in header.AsObject())
        {
            if (node is not JsonObject description) throw new InvalidDataException($"'{name}' is not described.");
            if (name != MetadataKey) entries.Add(name, ParseEntry(name, description));
            else foreach ((string key, JsonNode? value) in description) metadata.Add(key, value?.GetValue<string>() ?? throw new InvalidDataException($"'{key}' is null."));
        }

        RefuseGapsAndOverlaps(entries, stream.Length - stream.Position);
        return new TensorFile(stream, entries, metadata);
    }

    private static Entry ParseEntry(string name, JsonObject node)
    {
        long[]? shape = node["shape"].Deserialize<long[]>();
        long[]? range = node["data_offsets"].Deserialize<long[]>();
        if (node["dtype"] is not JsonValue dtype || !Types.TryGetValue(dtype.ToString(), out ScalarType type)
            || shape is null || shape.Any(size => size < 0) || range is not [>= 0, _] || range[1] < range[0])
        {
            throw new InvalidDataException($"tensor '{name}' is described wrongly.");
        }

        // In double: exact for every size that a file can have, and no overflow for the others.
        double elementSize = type switch { ScalarType.Byte => 1, ScalarType.Float32 => 4, _ => 8 };
        if (shape.Aggregate(elementSize, (product, size) => product * size) != range[1] - range[0])
            throw new InvalidDataException($"the byte range of tensor '{name}' does not fit its shape.");
        return new Entry(type, shape, range[0], range[1]);
    }

    private static void RefuseGapsAndOverlaps(Dictionary<string, Entry> entries, long length)
    {
        long end = 0;
        foreach ((string name, Entry entry) in entries.OrderBy(named => named.Value.Start).ThenBy(named => named.Value.End))
        {
            if (entry.Start != end) throw new InvalidDataException($"tensor '{name}' {(entry.Start < end ? "overlaps the one before" : "follows a gap")}.");
            end = entry.End;
        }

        if (end != length) throw new InvalidDataException($"the tensors have {length:N0} bytes and should have {end:N0}.");
    }
}
