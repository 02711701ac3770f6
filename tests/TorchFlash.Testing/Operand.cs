using System.Numerics;

namespace TorchFlash.Testing;

/// <summary>
/// An operand in an allocation of its own. Everything that is not an element of it (guards at the ends, gaps between rows) is NaN, and so are
/// the elements until they are filled: a value read from outside shows up in the result, a value written outside in <see cref="StrayWrite"/>.
/// </summary>
internal class Operand : IDisposable
{
    private const byte Nan = 0xFF; // in every type

    private readonly IOperandMemory _memory;
    private readonly Shape _shape;
    private readonly ElementType _type;
    private readonly int _elementSize, _first;
    private readonly nint _address;
    private readonly byte[] _expected;

    public Operand(IOperandMemory memory, ElementType type, Shape shape, Layout layout = Layout.Contiguous)
    {
        (_memory, _shape, _type, _elementSize) = (memory, shape, type, type.Size());
        (long batch, long head, long row) = shape.Strides(layout);
        long lowest = 0, end = shape.Width;
        foreach ((int size, long stride) in new[] { (shape.Batch, batch), (shape.Heads, head), (shape.Rows, row) })
        {
            lowest += Math.Max(0, size - 1) * Math.Min(0, stride);
            end += Math.Max(0, size - 1) * Math.Max(0, stride);
        }
        long used = shape.Count == 0 ? 0 : (end - lowest) * _elementSize, shift = layout is Layout.Misaligned or Layout.Odd && shape.Count > 0 ? _elementSize : 0;
        long bytes = used + shift + 2 * memory.GuardBytes;
        bytes = (bytes + memory.Granularity - 1) / memory.Granularity * memory.Granularity;
        _expected = new byte[bytes];
        _expected.AsSpan().Fill(Nan);
        _first = (int)(layout switch
        {
            Layout.PageStart => 0,
            Layout.PageEnd => bytes - used,
            _ => memory.GuardBytes + shift,
        } - lowest * _elementSize);
        if (bytes > 0)
            _address = memory.Allocate(bytes);
        View = new TensorView(_address == 0 ? 0 : _address + _first, batch, head, row);
        if (!memory.TellsOfUnwritten)
            Upload();
        MarkGaps();
    }

    /// <summary>The operand as the engines take it.</summary>
    public TensorView View { get; }

    /// <summary>Overwrites everything, elements included, with NaN.</summary>
    public void Poison()
    {
        _expected.AsSpan().Fill(Nan);
        Upload();
    }

    /// <summary>Sets every element, rounded to the type, in logical order, and takes the operand for an input.</summary>
    public Operand Fill(Func<double> next) => Fill((_, _, _, _) => next());

    /// <summary>Sets every element from dense values.</summary>
    public Operand Fill(double[] values)
    {
        int at = 0;
        return Fill(() => values[at++]);
    }

    /// <summary>Sets every element from its position (b, h, n, x).</summary>
    public Operand Fill(Func<int, int, int, int, double> value)
    {
        ForEach((b, h, n, x, offset) => Elements.Write(_type, _expected.AsSpan(offset), value(b, h, n, x)));
        Upload();
        ForEachRow((_, _, _, offset) => _memory.MarkInput(_address + offset, _shape.Width * _elementSize));
        return this;
    }

    /// <summary>Sets one element of an input.</summary>
    public void Set(int b, int h, int n, int x, double value)
    {
        Elements.Write(_type, _expected.AsSpan(Offset(b, h, n) + x * _elementSize), value);
        Upload();
    }

    /// <summary>The elements in dense order.</summary>
    public double[] ToArray()
    {
        byte[] bytes = Bytes();
        double[] result = new double[_shape.Count];
        long at = 0;
        ForEach((_, _, _, _, offset) => result[at++] = Elements.Read(_type, bytes.AsSpan(offset)));
        return result;
    }

    /// <summary>All bytes, gaps included, as they are now.</summary>
    public byte[] Bytes()
    {
        byte[] bytes = new byte[_expected.Length];
        if (bytes.Length > 0)
            _memory.Read(_address, bytes);
        return bytes;
    }

    /// <summary>What was written though it is no element, or, of an input, though it is one; null for nothing.</summary>
    public string? StrayWrite(bool isInput)
    {
        byte[] now = Bytes();
        if (!isInput)
            ForEachRow((_, _, _, offset) => now.AsSpan(offset, _shape.Width * _elementSize).CopyTo(_expected.AsSpan(offset)));
        int same = now.AsSpan().CommonPrefixLength(_expected);
        return same == now.Length ? null
            : $"was written {(isInput ? "although it is an input or refused" : "outside its elements")}: byte {same - _first} from its first element";
    }

    /// <summary>An input must be, bit for bit, what it was when it was filled.</summary>
    public void AssertUnchanged(string name) => Assert(name, isInput: true);

    /// <summary>Around the elements of an output everything must be as it was.</summary>
    public void AssertOnlyElementsWritten(string name) => Assert(name, isInput: false);

    public void Dispose()
    {
        if (_address != 0)
            _memory.Free(_address);
    }

    private void Assert(string name, bool isInput)
    {
        if (StrayWrite(isInput) is { } complaint)
            throw new MismatchException($"{name} {complaint}.");
    }

    private void Upload()
    {
        if (_expected.Length > 0)
            _memory.Write(_address, _expected);
    }

    /// <summary>Everything that is in no row.</summary>
    private void MarkGaps()
    {
        var rows = new SortedSet<int>();
        ForEachRow((_, _, _, offset) => rows.Add(offset));
        int end = 0;
        foreach (int offset in rows)
        {
            if (offset > end)
                _memory.MarkGap(_address + end, offset - end);
            end = Math.Max(end, offset + _shape.Width * _elementSize);
        }
    }

    private int Offset(int b, int h, int n) => checked((int)(_first + (b * View.BatchStride + h * View.HeadStride + n * View.RowStride) * _elementSize));

    private void ForEachRow(Action<int, int, int, int> action)
    {
        for (int b = 0; _shape.Width > 0 && b < _shape.Batch; b++)
            for (int h = 0; h < _shape.Heads; h++)
                for (int n = 0; n < _shape.Rows; n++)
                    action(b, h, n, Offset(b, h, n));
    }

    private void ForEach(Action<int, int, int, int, int> action) => ForEachRow((b, h, n, offset) =>
    {
        for (int x = 0; x < _shape.Width; x++)
            action(b, h, n, x, offset + x * _elementSize);
    });
}

/// <summary>An operand in the host's memory.</summary>
internal sealed unsafe class Operand<T>(Shape shape, Layout layout = Layout.Contiguous)
    : Operand(new HostMemory(), typeof(T) == typeof(float) ? ElementType.Float32 : ElementType.Float64, shape, layout)
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Element (b, h, n, x).</summary>
    public ref T this[int b, int h, int n, int x] => ref *((T*)View.Data + b * View.BatchStride + h * View.HeadStride + n * View.RowStride + x);

    /// <inheritdoc cref="Operand.Fill(Func{double})"/>
    public new Operand<T> Fill(Func<double> next) => (Operand<T>)base.Fill(next);

    /// <inheritdoc cref="Operand.Fill(Func{int, int, int, int, double})"/>
    public new Operand<T> Fill(Func<int, int, int, int, double> value) => (Operand<T>)base.Fill(value);

    /// <summary>The elements in dense order.</summary>
    public new T[] ToArray() => ToArray<T>();

    /// <summary>The elements in dense order, as <typeparamref name="TTo"/>.</summary>
    public TTo[] ToArray<TTo>() where TTo : unmanaged, IBinaryFloatingPointIeee754<TTo> => Array.ConvertAll(base.ToArray(), TTo.CreateSaturating);
}
