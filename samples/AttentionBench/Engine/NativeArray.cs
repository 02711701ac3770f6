using System.Numerics;
using System.Runtime.InteropServices;

namespace AttentionBench.Engine;

/// <summary>A contiguous [B, H, N, d] operand in native memory, aligned to a cache line.</summary>
internal sealed unsafe class NativeArray<T> : IDisposable where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly void* _data;

    public NativeArray(int heads, int rows, int width, Random? random = null)
    {
        int count = checked(heads * rows * width);
        _data = NativeMemory.AlignedAlloc((nuint)count * (nuint)sizeof(T), 64);
        View = new TorchFlash.Kernels.TensorView((nint)_data, (long)count, (long)rows * width, width);
        foreach (ref T value in new Span<T>(_data, count))
            value = random is null ? T.Zero : T.CreateChecked(2 * random.NextDouble() - 1);
    }

    /// <summary>The operand of one batch entry, or of several where the heads of all of them are counted together.</summary>
    public TorchFlash.Kernels.TensorView View { get; }

    public void Dispose() => NativeMemory.AlignedFree(_data);
}
