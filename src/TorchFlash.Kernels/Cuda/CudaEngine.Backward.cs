namespace TorchFlash.Kernels.Cuda;

public sealed unsafe partial class CudaEngine
{
    /// <summary>
    /// The backward pass, a few kernels in a row:
    /// delta = rowsum(dO o O); then dK and dV, tile of keys by tile of keys, with sums of dS K on the way for 16-bit types; then dQ from these
    /// sums, or, in a fixed order, from a kernel of its own.
    /// </summary>
    private void Backward(in AttentionProblem problem, in BackwardArguments arguments, in ExecutionOptions options, in BackwardWorkspace workspace)
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
            LogSum = KernelChoice.IsExact(problem) ? 0 : arguments.Workspace + (nint)workspace.LogSumOffset,
            QueryAccumulator = workspace.HasAccumulator ? arguments.Workspace + (nint)workspace.AccumulatorOffset : 0,
            Batch = problem.Batch,
            Heads = problem.Heads,
            Group = problem.Group,
            QueryLength = problem.QueryLength,
            KeyLength = problem.KeyLength,
            Diagonal = problem.DiagonalOffset,
            HeadDim = problem.HeadDim,
            ValueDim = problem.ValueDim,
            PaddedQueries = workspace.PaddedQueries,
            PaddedDim = workspace.PaddedDim,
            ScaleLog2 = ScaleLog2(problem),
            Scale = problem.Scale,
        };
        bool aligned = _choice.IsAligned(problem.HeadDim, problem.ValueDim, query, key, value, output, outputGradient, queryGradient, keyGradient, valueGradient);
        bool mappable = query.IsMappable && key.IsMappable && value.IsMappable && outputGradient.IsMappable;

        // All of them before the first launch: one that does not compile must not leave half a pass behind.
        LoadedKernel prepare = _modules[_choice.BackwardPrepare(problem, aligned, options.Deterministic)];
        LoadedKernel ofKeys = _modules[_choice.Backward(problem, aligned, mappable, options.Deterministic)];
        LoadedKernel ofQueries = _modules[workspace.HasAccumulator ? _choice.BackwardFinish(problem, aligned) : _choice.BackwardQuery(problem, aligned)];

        using CudaDevice.Scope scope = _device.Enter();
        Launch(prepare, QueryUnits(problem, prepare), options.Stream, &parameters);
        Launch(ofKeys, KeyUnits(problem, ofKeys), options.Stream, &parameters, problem.ElementType,
            [MappedView.OfQueries(query), MappedView.OfKeys(key), MappedView.OfKeys(value), MappedView.OfQueries(outputGradient)]);
        Launch(ofQueries, QueryUnits(problem, ofQueries), options.Stream, &parameters);
    }
}
