namespace TorchFlash.Kernels;

/// <summary>
/// One operand [B, H, N, d] in somebody else's memory: element (b, h, n, x) lies at
/// <c>Data + b * BatchStride + h * HeadStride + n * RowStride + x</c> (strides in elements; unit stride along d).
/// Inputs may have any strides, 0 and negative ones included; the elements of an output must not overlap.
/// </summary>
/// <param name="Data">Address of element (0, 0, 0, 0); may be null when the operand has no element.</param>
/// <param name="BatchStride">Elements from one batch entry to the next.</param>
/// <param name="HeadStride">Elements from one head to the next.</param>
/// <param name="RowStride">Elements from one row (query or key) to the next.</param>
public readonly record struct TensorView(nint Data, long BatchStride, long HeadStride, long RowStride);
