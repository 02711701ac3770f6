using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>
/// Memory for one pass's own use. It is a tensor, so that it comes from libtorch's allocator, counts among libtorch's memory, and is
/// handed on under the same rules of streams as the operands are.
/// </summary>
internal sealed class Workspace : IDisposable
{
    private const long Alignment = 256; // What engines ask for; libtorch's CPU allocator gives 64.

    private readonly Tensor? _memory;

    /// <summary>So many bytes on a device; none for 0.</summary>
    public Workspace(long bytes, Device device)
    {
        if (bytes == 0)
            return;
        _memory = empty(bytes + Alignment - 1, dtype: ScalarType.Int8, device: device);
        Address = (nint)((TensorMemory.Data(_memory) + Alignment - 1) / Alignment * Alignment);
    }

    /// <summary>The address of the first byte, 0 where there is none.</summary>
    public nint Address { get; }

    /// <summary>Lets go of the memory; what has been enqueued may still use it.</summary>
    public void Dispose() => _memory?.Dispose();
}
