namespace TorchFlash.Kernels.Cuda;

/// <summary>What a kernel's module says about how it is launched: KERNEL_SHAPE in device.cuh, an int[16].</summary>
/// <param name="Threads">Threads of a block.</param>
/// <param name="SharedBytes">Dynamic shared memory of a block.</param>
/// <param name="Rows">Rows of a unit of work: queries or keys.</param>
/// <param name="Columns">Keys of a unit of work, of kernels that divide these, too.</param>
/// <param name="IsPersistent">Whether a block does more than one unit of work, so that there need only be as many as run at once.</param>
/// <param name="BlocksPerMultiprocessor">How many run at once.</param>
/// <param name="BoxQueryRows">Rows of a box of the tensor maps over queries.</param>
/// <param name="BoxKeyRows">Rows of a box of the tensor maps over keys.</param>
/// <param name="BoxColumns">Columns of a box.</param>
internal readonly record struct KernelShape(
    int Threads, int SharedBytes, int Rows, int Columns, bool IsPersistent, int BlocksPerMultiprocessor, int BoxQueryRows, int BoxKeyRows, int BoxColumns)
{
    /// <summary>Name and length of the variable.</summary>
    public const string Variable = "torchflash_shape";
    public const int Length = 16;

    public static KernelShape Of(ReadOnlySpan<int> values) =>
        new(values[0], values[1], values[2], values[3], values[4] != 0, values[5], values[6], values[7], values[8]);

    /// <summary>Whether the kernel takes tensor maps after its parameters.</summary>
    public bool HasTensorMaps => BoxColumns > 0;

    /// <summary>Number of blocks for so many units of work.</summary>
    public long Blocks(long units, int multiprocessors) =>
        IsPersistent ? Math.Min(units, (long)multiprocessors * Math.Max(1, BlocksPerMultiprocessor)) : units;
}
