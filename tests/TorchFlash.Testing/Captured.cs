using System.Runtime.InteropServices;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Testing;

/// <summary>A captured tensor of a score program with its elements in a device's memory, bytes of ones around and between them.</summary>
internal sealed class Captured : IDisposable
{
    private readonly IOperandMemory _memory;
    private readonly ElementType _type;
    private readonly long[] _strides;
    private readonly byte[] _bytes;
    private readonly nint _address;
    private readonly long _first;

    /// <param name="memory">The device's.</param>
    /// <param name="type">Element type of real numbers.</param>
    /// <param name="tensor">The tensor.</param>
    /// <param name="value">Its elements.</param>
    /// <param name="strides">Where they lie; null: densely, in order. Elements that share a place have the value of the last of them.</param>
    public Captured(IOperandMemory memory, ElementType type, ScoreTensor tensor, Func<int[], double> value, long[]? strides = null)
    {
        (_memory, _type, Tensor, _strides) = (memory, type, tensor, strides ?? Dense(tensor));
        long lowest = 0, highest = 0;
        for (int k = 0; k < _strides.Length; k++)
        {
            long furthest = Math.Max(0, tensor.Shape[k] - 1) * _strides[k];
            (lowest, highest) = (lowest + Math.Min(0, furthest), highest + Math.Max(0, furthest));
        }
        long bytes = (highest - lowest + 1) * Size + 2 * memory.GuardBytes;
        _bytes = new byte[(bytes + memory.Granularity - 1) / memory.Granularity * memory.Granularity];
        _bytes.AsSpan().Fill(0xFF);
        _first = memory.GuardBytes - lowest * Size;
        foreach (int[] index in Indices)
            Write(Place(index), value(index));
        _address = memory.Allocate(_bytes.Length);
        memory.Write(_address, _bytes);
        View = new CapturedView(_address + (nint)_first, Stride(0), Stride(1), Stride(2), Stride(3));
        long count = tensor.Shape.Aggregate(1L, (a, b) => a * b);
        Gradient = new Operand(memory, type == ElementType.Float64 ? type : ElementType.Float32,
            new Shape(1, 1, 1, tensor.Kind == ScoreKind.Real ? checked((int)count) : 0));

        long Stride(int k) => k < _strides.Length ? _strides[k] : 0;
    }

    public ScoreTensor Tensor { get; }

    public CapturedView View { get; }

    /// <summary>Room for its gradient, dense; of a tensor of real numbers.</summary>
    public Operand Gradient { get; }

    /// <summary>All indices, in order.</summary>
    public IEnumerable<int[]> Indices => IndicesOf(Tensor.Shape);

    private int Size => Tensor.Kind switch
    {
        ScoreKind.Real => _type.Size(),
        ScoreKind.Int => sizeof(long),
        _ => 1,
    };

    /// <summary>An element, as its type holds it.</summary>
    public double this[int[] index] => Tensor.Kind switch
    {
        ScoreKind.Real => Elements.Read(_type, At(index)),
        ScoreKind.Int => MemoryMarshal.Read<long>(At(index)),
        _ => At(index)[0],
    };

    /// <summary>Number of an element in dense order.</summary>
    public static int Number(ScoreTensor tensor, ReadOnlySpan<int> index)
    {
        int number = 0;
        for (int k = 0; k < index.Length; k++)
            number = number * tensor.Shape[k] + index[k];
        return number;
    }

    /// <summary>Another value for an element.</summary>
    public void Set(int[] index, double value)
    {
        Write(Place(index), value);
        _memory.Write(_address, _bytes);
    }

    /// <summary>Nobody may have written it.</summary>
    public string? StrayWrite()
    {
        byte[] now = new byte[_bytes.Length];
        _memory.Read(_address, now);
        return now.AsSpan().SequenceEqual(_bytes) ? null : "was written although it is an input";
    }

    public void Dispose()
    {
        _memory.Free(_address);
        Gradient.Dispose();
    }

    public override string ToString() => $"{Tensor.Name}[{string.Join(", ", Tensor.Shape)}], strides {string.Join(", ", _strides)}";

    private static long[] Dense(ScoreTensor tensor)
    {
        var strides = new long[tensor.Shape.Count];
        for (int k = strides.Length - 1, stride = 1; k >= 0; stride *= tensor.Shape[k--])
            strides[k] = stride;
        return strides;
    }

    private static IEnumerable<int[]> IndicesOf(IReadOnlyList<int> shape)
    {
        IEnumerable<int[]> indices = [[]];
        foreach (int size in shape)
            indices = indices.SelectMany(index => Enumerable.Range(0, size).Select(x => (int[])[.. index, x]));
        return indices;
    }

    private int Place(int[] index) => checked((int)(_first + index.Zip(_strides, (x, stride) => x * stride).Sum() * Size));

    private ReadOnlySpan<byte> At(int[] index) => _bytes.AsSpan(Place(index));

    private void Write(int place, double value)
    {
        Span<byte> to = _bytes.AsSpan(place);
        if (Tensor.Kind == ScoreKind.Real)
            Elements.Write(_type, to, value);
        else if (Tensor.Kind == ScoreKind.Int)
            MemoryMarshal.Write(to, (long)value);
        else
            to[0] = (byte)value;
    }
}
