using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
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

    // The format's types with libtorch's, and the size of an element.
    private static readonly Dictionary<string, (ScalarType Type, int Size)> Types = new()
    {
        ["BOOL"] = (ScalarType.Bool, 1),
        ["U8"] = (ScalarType.Byte, 1),
        ["I8"] = (ScalarType.Int8, 1),
        ["I16"] = (ScalarType.Int16, 2),
        ["U16"] = (ScalarType.Int16, 2), // its bits: libtorch has no such type
        ["I32"] = (ScalarType.Int32, 4),
        ["I64"] = (ScalarType.Int64, 8),
        ["F16"] = (ScalarType.Float16, 2),
        ["BF16"] = (ScalarType.BFloat16, 2),
        ["F32"] = (ScalarType.Float32, 4),
        ["F64"] = (ScalarType.Float64, 8),
    };

    private readonly FileStream _stream;
    private readonly long _start;
    private readonly Dictionary<string, Entry> _entries;

    private TensorFile(FileStream stream, Dictionary<string, Entry> entries, IReadOnlyDictionary<string, string> metadata)
    {
        (_stream, _start, _entries, Metadata) = (stream, stream.Position, entries, metadata);
    }

    /// <summary>A tensor of the file.</summary>
    /// <param name="Type">Element type.</param>
    /// <param name="Shape">Size of each dimension.</param>
    /// <param name="Start">First byte, counted from the end of the header.</param>
    /// <param name="End">Byte after the last one.</param>
    public sealed record Entry(ScalarType Type, long[] Shape, long Start, long End)
    {
        /// <summary>Size in bytes.</summary>
        public long Length => End - Start;

        /// <inheritdoc/>
        public override string ToString() => $"{Type} ({string.Join(", ", Shape)})";
    }

    /// <summary>The text entries.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>The file.</summary>
    public string Path => _stream.Name;

    /// <summary>The tensors by name.</summary>
    public IReadOnlyDictionary<string, Entry> Entries => _entries;

    /// <summary>Writes a file.</summary>
    /// <exception cref="ArgumentException">A tensor has an element type that this class does not store.</exception>
    /// <exception cref="UserException">The header is larger than the format allows.</exception>
    public static void Write(Stream stream, IReadOnlyDictionary<string, string> metadata, IReadOnlyList<(string Name, Tensor Tensor)> tensors)
    {
        Write(stream, metadata, [.. tensors.Select(named => new Part(named.Name, TypeName(named.Name, named.Tensor), named.Tensor.shape, target =>
        {
            using DisposeScope scope = NewDisposeScope();
            named.Tensor.detach().cpu().contiguous().WriteBytesToStream(target, CopyBufferLength);
        }))]);

        static string TypeName(string name, Tensor tensor) => Types.FirstOrDefault(pair => pair.Value.Type == tensor.dtype).Key
            ?? throw new ArgumentException($"Tensor '{name}' is of type {tensor.dtype}, which is not stored.", nameof(tensors));
    }

    /// <summary>A tensor to be written: its name, its type as the format calls it, its shape, and what writes its elements.</summary>
    internal sealed record Part(string Name, string Type, long[] Shape, Action<Stream> Write);

    /// <summary>Writes a file.</summary>
    /// <exception cref="UserException">The header is larger than the format allows.</exception>
    internal static void Write(Stream stream, IReadOnlyDictionary<string, string> metadata, IReadOnlyList<Part> parts)
    {
        var header = new JsonObject { [MetadataKey] = JsonSerializer.SerializeToNode(metadata) };
        long offset = 0;
        foreach (Part part in parts)
        {
            long end = offset + part.Shape.Aggregate((long)Types[part.Type].Size, (product, size) => product * size);
            header[part.Name] = new JsonObject
            {
                ["dtype"] = part.Type,
                ["shape"] = JsonSerializer.SerializeToNode(part.Shape),
                ["data_offsets"] = new JsonArray(offset, end),
            };
            offset = end;
        }

        // Spaces, which the format allows there, put the tensors at a multiple of eight.
        string text = header.ToJsonString();
        byte[] headerBytes = Encoding.UTF8.GetBytes(text + new string(' ', -Encoding.UTF8.GetByteCount(text) & 7));
        if (headerBytes.Length > MaximumHeaderLength)
            throw new UserException($"The run is too long to be saved: its losses take more than the {MaximumHeaderLength:N0} bytes of a header.");
        Span<byte> length = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)headerBytes.Length);
        stream.Write(length);
        stream.Write(headerBytes);
        foreach (Part part in parts) part.Write(stream);
    }

    /// <summary>Opens a file and checks its structure; the tensors are read by <see cref="CopyTo"/> and <see cref="Read"/>.</summary>
    /// <param name="path">The file.</param>
    /// <param name="what">How messages begin.</param>
    /// <param name="kind">What the file should be, for messages.</param>
    /// <exception cref="UserException">It cannot be read, is not of this format, or is not complete.</exception>
    public static TensorFile Open(string path, string what = "--checkpoint", string kind = "checkpoint")
    {
        FileStream stream = RegularFile.OpenRead(path, what);
        try
        {
            return Parse(stream);
        }
        catch (Exception e) when (e is InvalidDataException or JsonException or InvalidOperationException or FormatException or IOException)
        {
            stream.Dispose();
            throw new UserException($"{what}: {path} is not a {kind}, or is damaged: {e.Message}", e);
        }
    }

    /// <summary>The bytes of a tensor, mapped into memory.</summary>
    internal MemoryMappedViewAccessor Map(MemoryMappedFile mapping, string name) =>
        mapping.CreateViewAccessor(_start + _entries[name].Start, _entries[name].Length, MemoryMappedFileAccess.Read);

    /// <summary>The whole file, to be mapped; it is of use for as long as this object is.</summary>
    internal MemoryMappedFile Mapping() => MemoryMappedFile.CreateFromFile(_stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);

    /// <summary>Copies a stored tensor's values into <paramref name="destination"/>.</summary>
    /// <exception cref="UserException">There is no such tensor, it has another shape or element type, or its values are not all finite.</exception>
    public void CopyTo(string name, Tensor destination)
    {
        if (!_entries.TryGetValue(name, out Entry? entry))
            throw new UserException($"{Path} has no tensor '{name}'.");
        if (entry.Type != destination.dtype || !entry.Shape.AsSpan().SequenceEqual(destination.shape))
        {
            throw new UserException(
                $"{Path}: '{name}' is {entry}, the model has {destination.dtype} ({string.Join(", ", destination.shape)}).");
        }

        using Tensor stored = Read(name);
        using (no_grad())
        {
            destination.copy_(stored);
        }
    }

    /// <summary>A stored tensor, of the type it is stored in. It takes as much memory as it has bytes in the file.</summary>
    /// <exception cref="UserException">There is no such tensor, it cannot be read, or its values are not all finite.</exception>
    public Tensor Read(string name)
    {
        if (!_entries.TryGetValue(name, out Entry? entry)) throw new UserException($"{Path} has no tensor '{name}'.");
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
        return stored.MoveToOuterDisposeScope();
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
        if (headerBytes is not [(byte)'{', ..]) throw new InvalidDataException("the header is not an object.");
        JsonNode? header = JsonNode.Parse(headerBytes, documentOptions: new JsonDocumentOptions { AllowDuplicateProperties = false });
        var metadata = new Dictionary<string, string>();
        var entries = new Dictionary<string, Entry>();
        foreach ((string name, JsonNode? node) in header!.AsObject())
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
        if (node["dtype"] is not JsonValue dtype || !Types.TryGetValue(dtype.ToString(), out (ScalarType Type, int Size) element)
            || shape is null || shape.Any(size => size < 0) || range is not [>= 0, _] || range[1] < range[0])
        {
            throw new InvalidDataException($"tensor '{name}' is described wrongly.");
        }

        // In double: exact for every size that a file can have, and no overflow for the others.
        if (shape.Aggregate((double)element.Size, (product, size) => product * size) != range[1] - range[0])
            throw new InvalidDataException($"the byte range of tensor '{name}' does not fit its shape.");
        return new Entry(element.Type, shape, range[0], range[1]);
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
