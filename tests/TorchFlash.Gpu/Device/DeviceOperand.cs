using System.Runtime.InteropServices;
using TorchFlash.Gpu.Verify;
using TorchFlash.Kernels;

namespace TorchFlash.Gpu.Device;

/// <summary>How an operand [B, H, N, d] lies in memory.</summary>
internal enum OperandLayout
{
    /// <summary>(B, H, N, d), dense.</summary>
    Dense,

    /// <summary>(B, N, H, d), dense: what a model's projections give before the heads are moved forward.</summary>
    Interleaved,

    /// <summary>Three unused elements after every row, and an address that is no multiple of 16 bytes: element-wise loads.</summary>
    Odd,
}

/// <summary>One operand in the GPU's memory between two guards: what is behind its elements, and around it, may not be written.</summary>
internal sealed class DeviceOperand : IDisposable
{
    private const int GuardBytes = 512;
    private const byte Poison = 0xFF; // NaN in every type

    private readonly GpuDriver _gpu;
    private readonly nint _memory;
    private readonly byte[] _initial;
    private readonly (int Batch, int Heads, int Rows, int Width) _size;
    private readonly (long Batch, long Head, long Row) _strides;
    private readonly ElementType _type;
    private readonly int _first;

    /// <param name="gpu">Where.</param>
    /// <param name="type">Type of the elements.</param>
    /// <param name="size">[B, H, N, d].</param>
    /// <param name="layout">How.</param>
    /// <param name="values">The elements, dense; null: NaN, which the kernels have to replace.</param>
    public DeviceOperand(GpuDriver gpu, ElementType type, (int Batch, int Heads, int Rows, int Width) size, OperandLayout layout = OperandLayout.Dense, double[]? values = null)
    {
        (_gpu, _type, _size) = (gpu, type, size);
        int elementSize = type.Size();
        long row = size.Width + (layout == OperandLayout.Odd ? 3 : 0);
        _strides = layout == OperandLayout.Interleaved
            ? ((long)size.Rows * size.Heads * row, row, size.Heads * row)
            : (size.Heads * size.Rows * row, size.Rows * row, row);
        _first = GuardBytes + (layout == OperandLayout.Odd ? elementSize : 0);
        _initial = new byte[_first + (size.Batch * _strides.Batch * elementSize) + GuardBytes];
        _initial.AsSpan().Fill(Poison);
        if (values is not null)
            ForEach((index, offset) => Store(_initial.AsSpan(offset), values[index]));
        _memory = gpu.Allocate(_initial.Length);
        gpu.ToDevice(_initial, _memory);
    }

    public TensorView View => new(_memory + _first, _strides.Batch, _strides.Head, _strides.Row);

    public nint Address => _memory + _first;

    /// <summary>The elements, dense.</summary>
    public double[] ToArray()
    {
        byte[] bytes = Read();
        double[] values = new double[(long)_size.Batch * _size.Heads * _size.Rows * _size.Width];
        ForEach((index, offset) => values[index] = Load(bytes.AsSpan(offset)));
        return values;
    }

    /// <summary>Every byte, for comparisons bit by bit.</summary>
    public byte[] Read()
    {
        byte[] bytes = new byte[_initial.Length];
        _gpu.ToHost(_memory, bytes);
        return bytes;
    }

    /// <summary>Fills with NaN again.</summary>
    public void Reset() => _gpu.ToDevice(_initial, _memory);

    /// <summary>What was written though it is no element of this operand, null for nothing.</summary>
    public string? StrayWrite()
    {
        byte[] bytes = Read();
        byte[] expected = (byte[])_initial.Clone();
        int elementSize = _type.Size();
        ForEach((_, offset) => bytes.AsSpan(offset, elementSize).CopyTo(expected.AsSpan(offset)));
        int at = bytes.AsSpan().CommonPrefixLength(expected);
        return at == bytes.Length ? null : $"byte {at - _first} of {bytes.Length - 2 * GuardBytes} was written";
    }

    public void Dispose() => _gpu.Free(_memory);

    /// <summary>Values as the operand's type holds them.</summary>
    public static double[] Rounded(ElementType type, double[] values) => type switch
    {
        ElementType.Float64 => values,
        ElementType.Float32 => Array.ConvertAll(values, x => (double)(float)x),
        ElementType.BFloat16 => Array.ConvertAll(values, x => (double)ElementTypes16.RoundToBFloat16((float)x)),
        _ => Array.ConvertAll(values, x => (double)(Half)(float)x),
    };

    private void ForEach(Action<int, int> element)
    {
        int index = 0, elementSize = _type.Size();
        for (int b = 0; b < _size.Batch; b++)
            for (int h = 0; h < _size.Heads; h++)
                for (int n = 0; n < _size.Rows; n++)
                {
                    long row = _first + (b * _strides.Batch + h * _strides.Head + n * _strides.Row) * elementSize;
                    for (int x = 0; x < _size.Width; x++)
                        element(index++, (int)row + x * elementSize);
                }
    }

    private void Store(Span<byte> to, double value)
    {
        switch (_type)
        {
            case ElementType.Float64:
                MemoryMarshal.Write(to, value);
                break;
            case ElementType.Float32:
                MemoryMarshal.Write(to, (float)value);
                break;
            case ElementType.BFloat16:
                MemoryMarshal.Write(to, ElementTypes16.BFloat16Bits((float)value));
                break;
            default:
                MemoryMarshal.Write(to, (Half)(float)value);
                break;
        }
    }

    private double Load(ReadOnlySpan<byte> from) => _type switch
    {
        ElementType.Float64 => MemoryMarshal.Read<double>(from),
        ElementType.Float32 => MemoryMarshal.Read<float>(from),
        ElementType.BFloat16 => BitConverter.UInt32BitsToSingle((uint)MemoryMarshal.Read<ushort>(from) << 16),
        _ => (double)MemoryMarshal.Read<Half>(from),
    };
}
