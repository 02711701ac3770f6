using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace TorchFlash.Kernels.Cpu.Assembled;

/// <summary>
/// The one argument of an assembled tile, a pointer to this: the calling conventions then differ in one register. Strides are in bytes.
/// The routine moves <see cref="A"/> and <see cref="C"/> on and counts <see cref="Blocks"/> down to 0.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct TileCall
{
    public byte* A;
    public nint RowStride;
    public nint DepthStride;
    public byte* B;
    public nint BStride;
    public byte* C;
    public nint CStride;
    public nint Depth;
    public nint Blocks;
    public nint Add;

    /// <summary>What the caller wants back of its registers (xmm6 and on, on Windows): the routine has no stack frame, so that unwinders pass it as the leaf it is.</summary>
    public SavedRegisters Saved;

    [InlineArray(16 * PairTileCode.MostSaved)]
    public struct SavedRegisters
    {
        private byte _first;
    }
}
