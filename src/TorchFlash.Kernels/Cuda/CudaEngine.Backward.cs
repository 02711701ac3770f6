using System.Runtime.InteropServices;

namespace TorchFlash.Kernels.Cuda;

public sealed unsafe partial class CudaEngine
{
    /// <summary>
    /// The backward pass, a few kernels in a row:
    /// delta = rowsum(dO o O); then dK and dV, tile of keys by tile of keys, with sums of dS K on the way for 16-bit types; then dQ from these
    /// sums, or, in a fixed order, from a kernel of its own.
    /// </summary>
    private void Backward(in AttentionProblem problem, in BackwardArguments arguments, in ExecutionOptions options, in WorkspaceLayout layout)
    {
        SizedView query = Query(problem, arguments.Query), key = Key(problem, arguments.Key), value = Value(problem, arguments.Value);
        SizedView output = Output(problem, arguments.Output), outputGradient = Output(problem, arguments.OutputGradient);
        SizedView queryGradient = Query(problem, arguments.QueryGradient), keyGradient = Key(problem, arguments.KeyGradient), valueGradient = Value(problem, arguments.ValueGradient);
        var parameters = new BackwardParameters
        {
            Query = query.View,
            Key = key.View,
            Value = value.View,
            Output = output.View,
            OutputGradient = outputGradient.View,
            QueryGradient = queryGradient.View,
            KeyGradient = keyGradient.View,
            ValueGradient = valueGradient.View,
            Maximum = arguments.Statistics.Max,
            Sum = arguments.Statistics.Sum,
            Delta = arguments.Workspace,
            LogSum = KernelChoice.IsExact(problem) ? 0 : arguments.Workspace + (nint)layout.LogSumOffset,
            QueryAccumulator = layout.HasAccumulator ? arguments.Workspace + (nint)layout.AccumulatorOffset : 0,
            LogSumExpGradient = arguments.LogSumExpGradient,
            Batch = problem.Batch,
            Heads = problem.Heads,
            Group = problem.Group,
            QueryLength = problem.QueryLength,
            KeyLength = problem.KeyLength,
            Diagonal = problem.DiagonalOffset,
            HeadDim = problem.HeadDim,
            ValueDim = problem.ValueDim,
            PaddedQueries = layout.PaddedQueries,
            PaddedDim = layout.PaddedDim,
            ScaleLog2 = ScaleLog2(problem),
            Scale = problem.Scale,
        };
        if (Array.Exists(arguments.ScoreTensorGradients ?? [], gradient => gradient != 0))
            throw new NotSupportedException("The cuda engine has no gradients of the tensors that a score program captured.");
        byte[] captures = Captures(problem, arguments.ScoreTensors);
        bool aligned = _choice.IsAligned(problem.HeadDim, problem.ValueDim, query, key, value, output, outputGradient, queryGradient, keyGradient, valueGradient);
        MappedView[] mapped =
            [MappedView.OfQueries("Q", query), MappedView.OfKeys("K", key), MappedView.OfKeys("V", value), MappedView.OfQueries("dO", outputGradient)];
        bool mappable = AreMappable(problem, mapped);

        // All of them before the first launch: one that does not compile must not leave half a pass behind.
        LoadedKernel prepare = Modules[_choice.BackwardPrepare(problem, aligned, options.Deterministic)];
        LoadedKernel ofKeys = Modules[_choice.Backward(problem, aligned, mappable, options.Deterministic)];
        LoadedKernel ofQueries = Modules[layout.HasAccumulator ? _choice.BackwardFinish(problem, aligned) : _choice.BackwardQuery(problem, aligned)];
        LoadedKernel? ofSinks = arguments.SinkGradient == 0 ? null : Modules[_choice.BackwardSinks(problem)];

        using CudaDevice.Scope scope = _device.Enter();
        Launch(prepare, QueryUnits(problem, prepare), options.Stream, parameters);
        Launch(ofKeys, KeyUnits(problem, ofKeys), options.Stream, parameters, captures, problem.ElementType, mapped);
        Launch(ofQueries, QueryUnits(problem, ofQueries), options.Stream, parameters, captures);
        if (ofSinks is not null)
        {
            ReadOnlySpan<nint> sinks = [arguments.Sinks, arguments.SinkGradient];
            Launch(ofSinks, problem.Heads, options.Stream, parameters, MemoryMarshal.AsBytes(sinks));
        }
    }
}

/// <summary>Where the arrays of the backward pass lie in its workspace: delta, log_sum, query_accumulator of parameters.cuh.</summary>
internal readonly record struct WorkspaceLayout
{
    /// <summary>Every array starts at a multiple of it, and so must the workspace.</summary>
    public const int Alignment = 256;

    /// <summary>Queries are padded to whole tiles of any kernel, dimensions to whole pieces.</summary>
    private const int QueryPadding = 128, DimPadding = 32;

    public WorkspaceLayout(in AttentionProblem problem, bool deterministic)
    {
        PaddedQueries = RoundUp(problem.QueryLength, QueryPadding);
        PaddedDim = RoundUp(problem.HeadDim, DimPadding);
        bool halfWidth = problem.ElementType.IsHalfWidth();
        HasAccumulator = halfWidth && !deterministic;
        checked
        {
            long queries = (long)problem.Batch * problem.Heads * PaddedQueries;
            LogSumOffset = RoundUp(queries * problem.ElementType.ComputeSize());
            AccumulatorOffset = LogSumOffset + (halfWidth ? RoundUp(queries * sizeof(float)) : 0);
            Bytes = AccumulatorOffset + (HasAccumulator ? RoundUp(queries * PaddedDim * sizeof(float)) : 0);
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
