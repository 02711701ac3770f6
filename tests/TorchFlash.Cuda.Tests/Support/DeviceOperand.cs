namespace TorchFlash.Cuda.Tests;

/// <summary>How an operand [B, H, N, d] lies in the memory of the device.</summary>
public enum DeviceLayout
{
    /// <summary>(B, H, N, d), dense.</summary>
    Contiguous,

    /// <summary>(B, N, H, d), dense: what a model's projections give before the heads are moved forward.</summary>
    Interleaved,

    /// <summary>Bytes that may not be touched after every row, head and batch entry; rows start at multiples of 16 bytes where d is one of 8.</summary>
    Gaps,

    /// <summary>The same, but the first element is aligned to an element only, and rows and heads are not at multiples of anything.</summary>
    Misaligned,

    /// <summary>Rows, heads and batch entries run backwards through memory.</summary>
    Reversed,

    /// <summary>One head serves every head and batch entry (inputs only).</summary>
    SharedHeads,

    /// <summary>One row serves every row, head and batch entry, as the gradient of a sum (inputs only).</summary>
    SharedRow,
}

/// <summary>
/// An operand in an allocation that ends with its last element. What lies between the elements may not be touched; inputs may not be
/// written; elements of an output are NaN until written.
/// </summary>
internal sealed class DeviceOperand : IDisposable
{
    private const byte Nan = 0xFF; // in every type

    private readonly int _device, _batch, _heads, _rows, _width, _elementSize;
    private readonly ElementType _type;
    private readonly nint _memory;
    private readonly long _first, _count, _batchStride, _headStride, _rowStride;
    private readonly byte[] _written;

    public DeviceOperand(int device, ElementType type, (int Batch, int Heads, int Rows, int Width) shape, DeviceLayout layout = DeviceLayout.Contiguous)
    {
        (_device, _type, _elementSize) = (device, type, type.Size());
        (_batch, _heads, _rows, _width) = shape;
        (_batchStride, _headStride, _rowStride) = Strides(shape, layout);
        long lowest = 0, end = _width;
        foreach ((int size, long stride) in new[] { (_batch, _batchStride), (_heads, _headStride), (_rows, _rowStride) })
        {
            lowest += Math.Max(0, size - 1) * Math.Min(0, stride);
            end += Math.Max(0, size - 1) * Math.Max(0, stride);
        }
        _first = (layout == DeviceLayout.Misaligned ? 1 : 0) - lowest;
        _count = (long)_batch * _heads * _rows * _width > 0 ? _first + end : 0;
        _written = new byte[_count * _elementSize];
        if (_count > 0)
            _memory = EmulatedDevices.Allocate(device, _written.Length);
        _written.AsSpan().Fill(Nan); // as the emulated GPU's memory is from the start; writing it there would make it count as initialised
        MarkGaps();
    }

    /// <summary>The operand as the engine takes it.</summary>
    public TensorView View => new(_memory == 0 ? 0 : _memory + (nint)(_first * _elementSize), _batchStride, _headStride, _rowStride);

    /// <summary>Sets every element, rounded to the type, in logical order, and takes the operand for an input.</summary>
    public DeviceOperand Fill(Func<double> next) => Fill((_, _, _, _) => next());

    /// <summary>Sets every element from its position (b, h, n, x), rounded to the type, and takes the operand for an input.</summary>
    public DeviceOperand Fill(Func<int, int, int, int, double> value)
    {
        ForEach((b, h, n, x) => Elements.Write(_type, _written.AsSpan(Offset(b, h, n, x)), value(b, h, n, x)));
        if (_count == 0)
            return this;
        EmulatedDevices.Write(_device, _memory, _written);
        ForEachRow((offset, bytes) => EmulatedDevices.MarkInput(_memory + offset, bytes));
        return this;
    }

    /// <summary>Sets every element from dense values, as <see cref="Fill(Func{double})"/>.</summary>
    public DeviceOperand Fill(double[] values)
    {
        int at = 0;
        return Fill(() => values[at++]);
    }

    /// <summary>The elements in dense order.</summary>
    public double[] ToArray()
    {
        byte[] bytes = Download();
        double[] result = new double[(long)_batch * _heads * _rows * _width];
        long at = 0;
        ForEach((b, h, n, x) => result[at++] = Elements.Read(_type, bytes.AsSpan(Offset(b, h, n, x))));
        return result;
    }

    /// <summary>All bytes, gaps included, as they are now.</summary>
    public byte[] Download() => _count == 0 ? [] : EmulatedDevices.Read(_device, _memory, _written.Length);

    /// <summary>Nothing but the elements may have been written; of an input not even these.</summary>
    public void AssertOnlyElementsWritten(string name, bool isInput)
    {
        byte[] now = Download();
        if (!isInput)
            ForEach((b, h, n, x) => now.AsSpan(Offset(b, h, n, x), _elementSize).CopyTo(_written.AsSpan(Offset(b, h, n, x))));
        int same = now.AsSpan().CommonPrefixLength(_written);
        if (same != now.Length)
            Assert.Fail($"{name} was written {(isInput ? "although it is an input" : "outside its elements")}: byte {same} of {now.Length}.");
    }

    public void Dispose()
    {
        if (_memory != 0)
            EmulatedDevices.Free(_device, _memory);
    }

    private static (long Batch, long Head, long Row) Strides((int Batch, int Heads, int Rows, int Width) shape, DeviceLayout layout)
    {
        long row = shape.Width, head = shape.Rows * row, batch = shape.Heads * head;
        long gapRow = row + 16, gapHead = shape.Rows * gapRow + 8, oddRow = row + 3, oddHead = shape.Rows * oddRow + 5;
        return layout switch
        {
            DeviceLayout.Interleaved => (batch, row, shape.Heads * row),
            DeviceLayout.Gaps => (shape.Heads * gapHead + 24, gapHead, gapRow),
            DeviceLayout.Misaligned => (shape.Heads * oddHead + 1, oddHead, oddRow),
            DeviceLayout.Reversed => (-batch, -head, -row),
            DeviceLayout.SharedHeads => (0, 0, row),
            DeviceLayout.SharedRow => (0, 0, 0),
            _ => (batch, head, row),
        };
    }

    private int Offset(int b, int h, int n, int x) => checked((int)((_first + b * _batchStride + h * _headStride + n * _rowStride + x) * _elementSize));

    /// <summary>Everything between the rows.</summary>
    private void MarkGaps()
    {
        if (_count == 0)
            return;
        var rows = new List<(int Offset, int Bytes)>();
        ForEachRow((offset, bytes) => rows.Add((offset, bytes)));
        int end = 0;
        foreach ((int offset, int bytes) in rows.Distinct().Order())
        {
            if (offset > end)
                EmulatedDevices.MarkGap(_memory + end, offset - end);
            end = Math.Max(end, offset + bytes);
        }
    }

    private void ForEachRow(Action<int, int> action)
    {
        for (int b = 0; b < _batch; b++)
            for (int h = 0; h < _heads; h++)
                for (int n = 0; n < _rows; n++)
                    action(Offset(b, h, n, 0), _width * _elementSize);
    }

    private void ForEach(Action<int, int, int, int> action)
    {
        for (int b = 0; b < _batch; b++)
            for (int h = 0; h < _heads; h++)
                for (int n = 0; n < _rows; n++)
                    for (int x = 0; x < _width; x++)
                        action(b, h, n, x);
    }
}
