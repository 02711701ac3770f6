namespace TorchFlash.Kernels.Cuda;

/// <summary>Where the arrays of the backward pass lie in its workspace: delta, log_sum, query_accumulator of parameters.cuh.</summary>
internal readonly record struct BackwardWorkspace
{
    /// <summary>Every array starts at a multiple of it, and so must the workspace.</summary>
    public const int Alignment = 256;

    /// <summary>Rows of the statistics are padded to whole query tiles of any kernel.</summary>
    private const int QueryPadding = 128;

    private const int DimPadding = 32;

    public BackwardWorkspace(in AttentionProblem problem, bool deterministic)
    {
        PaddedQueries = RoundUp(problem.QueryLength, QueryPadding);
        PaddedDim = RoundUp(problem.HeadDim, DimPadding);
        bool halfWidth = problem.ElementType.IsHalfWidth();
        HasAccumulator = halfWidth && !deterministic;
        checked
        {
            long rows = (long)problem.Batch * problem.Heads * PaddedQueries;
            LogSumOffset = RoundUp(rows * problem.ElementType.ComputeSize());
            AccumulatorOffset = LogSumOffset + (halfWidth ? RoundUp(rows * sizeof(float)) : 0);
            Bytes = AccumulatorOffset + (HasAccumulator ? RoundUp(rows * PaddedDim * sizeof(float)) : 0);
        }
    }

    /// <summary>Queries of a head with padding.</summary>
    public int PaddedQueries { get; }

    /// <summary>Columns of the accumulator.</summary>
    public int PaddedDim { get; }

    /// <summary>Whether dQ is summed up in float32.</summary>
    public bool HasAccumulator { get; }

    public long LogSumOffset { get; }

    public long AccumulatorOffset { get; }

    /// <summary>Size of the whole.</summary>
    public long Bytes { get; }

    private static int RoundUp(int value, int multiple) => (value + multiple - 1) / multiple * multiple;

    private static long RoundUp(long bytes) => (bytes + Alignment - 1) / Alignment * Alignment;
}
