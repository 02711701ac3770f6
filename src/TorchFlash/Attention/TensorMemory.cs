using System.Runtime.InteropServices;
using TorchFlash.Kernels;
using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>Between tensors and the engines' raw operands.</summary>
internal static partial class TensorMemory
{
    /// <summary>
    /// The address of a tensor's first element whatever its type, storage offset included; 0 when it has none.
    /// TorchSharp's own accessors are typed, so this calls the export under them.
    /// </summary>
    [LibraryImport("LibTorchSharp")]
    private static partial nint THSTensor_data(nint tensor);

    /// <summary>The address of the first element; the caller keeps the tensor alive while it is used.</summary>
    public static nint Data(Tensor tensor) => THSTensor_data(tensor.Handle);

    /// <summary>An operand [B, H, N, d] with unit last stride; the caller keeps the tensor alive while it is used.</summary>
    public static TensorView View(Tensor tensor) =>
        new(Data(tensor), tensor.stride(0), tensor.stride(1), tensor.stride(2));

    /// <summary>A captured tensor of 1 to 4 dimensions; the caller keeps the tensor alive while it is used.</summary>
    public static CapturedView CapturedView(Tensor tensor)
    {
        return new(Data(tensor), Stride(0), Stride(1), Stride(2), Stride(3));

        long Stride(int dim) => dim < tensor.dim() ? tensor.stride(dim) : 0;
    }

    /// <summary>
    /// The shape, asked for size by size. TorchSharp's <c>shape</c> and <c>stride()</c> hand native code a delegate whose thunk lies in the
    /// native heap until the next garbage collection, and keeps the free memory on its two sides apart: with a few in every step the
    /// heap grows as if tensors leaked.
    /// </summary>
    public static long[] Sizes(Tensor tensor)
    {
        long[] sizes = new long[tensor.dim()];
        for (int i = 0; i < sizes.Length; i++)
            sizes[i] = tensor.size(i);
        return sizes;
    }

    /// <summary>The tensor itself where the engines can read it, else a contiguous copy.</summary>
    public static Tensor Readable(Tensor tensor) =>
        tensor.stride(-1) == 1 || tensor.size(-1) == 1 ? tensor : tensor.contiguous();

    /// <summary>
    /// Uninitialised [B, H, N, width], dense, with its first three dimensions in the memory order of <paramref name="like"/>
    /// [B, H, N, *], so that what undoes the views that led to <paramref name="like"/> is a view again.
    /// Strided at creation and not permuted afterwards: an output of an autograd function that is a view refuses in-place use.
    /// </summary>
    public static Tensor EmptyInOrderOf(Tensor like, long width)
    {
        long[] size = [like.size(0), like.size(1), like.size(2), width], strides = [0, 0, 0, 1];
        ReadOnlySpan<long> source = [like.stride(0), like.stride(1), like.stride(2)];
        Span<int> innermostFirst = [2, 1, 0];
        bool isExpanded = size[0] > 1 && source[0] == 0 || size[1] > 1 && source[1] == 0 || size[2] > 1 && source[2] == 0;
        for (int sorted = 1; sorted < 3 && !isExpanded; sorted++) // An expanded dimension has no place in memory.
        {
            for (int k = sorted; k > 0 && source[innermostFirst[k]] < source[innermostFirst[k - 1]]; k--)
                (innermostFirst[k], innermostFirst[k - 1]) = (innermostFirst[k - 1], innermostFirst[k]);
        }
        long stride = width;
        foreach (int i in innermostFirst)
        {
            strides[i] = stride;
            stride *= Math.Max(size[i], 1);
        }
        return empty_strided(size, strides, dtype: like.dtype, device: like.device);
    }
}
