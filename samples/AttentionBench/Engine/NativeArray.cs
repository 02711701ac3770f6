using System.Runtime.InteropServices;
using TorchFlash.Kernels;

namespace AttentionBench.Engine;

/// <summary>A contiguous [B, H, N, d] operand in native memory, aligned to a cache line.</summary>
internal sealed unsafe class NativeArray : IDisposable
{
    private readonly void* _data;

    /// <param name="type">Element type.</param>
    /// <param name="heads">Heads of all batch entries.</param>
    /// <param name="rows">N.</param>
    /// <param name="width">d.</param>
    /// <param name="random">Where its numbers of -1 .. 1 come from; null: zeros.</param>
    public NativeArray(ElementType type, int heads, int rows, int width, Random? random = null)
    {
        long count = checked((long)heads * rows * width);
        _data = NativeMemory.AlignedAlloc((nuint)(count * type.Bytes()), 64);
        View = new TensorView((nint)_data, count, (long)rows * width, width);
        for (long i = 0; i < count; i++)
        {
            double value = random is null ? 0 : 2 * random.NextDouble() - 1;
            switch (type)
            {
                case ElementType.Float64:
                    ((double*)_data)[i] = value;
                    break;
                case ElementType.Float32:
                    ((float*)_data)[i] = (float)value;
                    break;
                case ElementType.Float16:
                    ((Half*)_data)[i] = (Half)value;
                    break;
                default: // the upper half of a binary32, cut off: any number in range will do
                    ((ushort*)_data)[i] = (ushort)(BitConverter.SingleToUInt32Bits((float)value) >> 16);
                    break;
            }
        }
    }

    /// <summary>The operand of one batch entry, or of several where the heads of all of them are counted together.</summary>
    public TensorView View { get; }

    public void Dispose() => NativeMemory.AlignedFree(_data);
}
