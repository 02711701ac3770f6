using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels;

/// <summary>What every engine refuses before it starts.</summary>
internal static class Validation
{
    public static long Rows(in AttentionProblem problem) => (long)problem.Batch * problem.Heads * problem.QueryLength;

    public static void Check(in AttentionProblem problem, in ForwardArguments arguments, in ExecutionOptions options)
    {
        Check(problem, options);
        bool queries = Rows(problem) > 0, keys = HasKeys(problem);
        Check(arguments.Query, queries, nameof(arguments.Query));
        Check(arguments.Key, queries && keys, nameof(arguments.Key));
        Check(arguments.Value, queries && keys, nameof(arguments.Value));
        CheckWritten(arguments.Output, queries, nameof(arguments.Output), problem, problem.QueryLength, problem.ValueDim);
        Check(arguments.Statistics, queries);
        CheckScore(problem, arguments.ScoreTensors);
        CheckSinks(problem, arguments.Sinks);
    }

    public static void Check(in AttentionProblem problem, in BackwardArguments arguments, in ExecutionOptions options)
    {
        Check(problem, options);
        bool queries = Rows(problem) > 0, keys = HasKeys(problem);
        Check(arguments.Query, queries, nameof(arguments.Query));
        Check(arguments.Key, queries && keys, nameof(arguments.Key));
        Check(arguments.Value, queries && keys, nameof(arguments.Value));
        Check(arguments.Output, queries, nameof(arguments.Output));
        Check(arguments.OutputGradient, queries, nameof(arguments.OutputGradient));
        Check(arguments.Statistics, queries);
        CheckScore(problem, arguments.ScoreTensors);
        CheckSinks(problem, arguments.Sinks);
        CheckScoreGradients(problem, arguments.ScoreTensorGradients);
        if (arguments.SinkGradient != 0 && !problem.HasSinks)
            throw new ArgumentException("The gradient of the sinks is wanted, but the problem has none.", nameof(arguments.SinkGradient));
        AttentionProblem ofKeys = problem with { Heads = problem.KeyHeadCount };
        CheckWritten(arguments.QueryGradient, queries, nameof(arguments.QueryGradient), problem, problem.QueryLength, problem.HeadDim);
        CheckWritten(arguments.KeyGradient, keys, nameof(arguments.KeyGradient), ofKeys, problem.KeyLength, problem.HeadDim);
        CheckWritten(arguments.ValueGradient, keys, nameof(arguments.ValueGradient), ofKeys, problem.KeyLength, problem.ValueDim);
    }

    public static void Check(in AttentionProblem problem, in WeightsArguments arguments, in ExecutionOptions options)
    {
        Check(problem, options);
        bool elements = Rows(problem) > 0 && HasKeys(problem);
        Check(arguments.Query, elements, nameof(arguments.Query));
        Check(arguments.Key, elements, nameof(arguments.Key));
        Check(arguments.Statistics, elements);
        CheckScore(problem, arguments.ScoreTensors);
        CheckWritten(arguments.Weights, elements, nameof(arguments.Weights), arguments.PerHead ? problem : problem with { Heads = 1 }, problem.QueryLength, problem.KeyLength);
    }

    /// <summary>Ends the call where the engine does not take the problem, see <see cref="IAttentionEngine.Refusal"/>.</summary>
    public static void Check(IAttentionEngine engine, in AttentionProblem problem)
    {
        if (engine.Refusal(problem) is { } reason)
            throw new NotSupportedException($"The {engine.Name} engine does not take this attention: {reason}");
    }

    public static void CheckWorkspace(nint workspace, long bytes, int alignment)
    {
        if (bytes > 0 && workspace == 0)
            throw new ArgumentNullException(nameof(BackwardArguments.Workspace), $"The backward pass needs {bytes} bytes of workspace, but its address is null.");
        if (bytes > 0 && workspace % alignment != 0)
            throw new ArgumentException($"The workspace starts at a multiple of {alignment} bytes, but its address is {workspace:X}.", nameof(BackwardArguments.Workspace));
    }

    private static void CheckScore(in AttentionProblem problem, CapturedView[]? tensors)
    {
        IReadOnlyList<ScoreTensor> wanted = problem.Score?.Tensors ?? [];
        if ((tensors?.Length ?? 0) != wanted.Count)
            throw new ArgumentException($"The score program has {wanted.Count} tensors, but {tensors?.Length ?? 0} are given.", nameof(ForwardArguments.ScoreTensors));
        for (int k = 0; k < wanted.Count; k++)
        {
            if (tensors![k].Data == 0 && !wanted[k].Shape.Contains(0))
                throw new ArgumentNullException(nameof(ForwardArguments.ScoreTensors), $"{wanted[k].Name} has elements, but its address is null.");
        }
    }

    private static void CheckScoreGradients(in AttentionProblem problem, nint[]? gradients)
    {
        IReadOnlyList<ScoreTensor> tensors = problem.Score?.Tensors ?? [];
        if (gradients is not null && gradients.Length != tensors.Count)
            throw new ArgumentException($"The score program has {tensors.Count} tensors, but {gradients.Length} gradients are given.", nameof(BackwardArguments.ScoreTensorGradients));
        for (int k = 0; k < (gradients?.Length ?? 0); k++)
        {
            if (gradients![k] != 0 && tensors[k].Kind != ScoreKind.Real)
                throw new ArgumentException($"{tensors[k].Name} holds no real numbers: it has no gradient.", nameof(BackwardArguments.ScoreTensorGradients));
        }
    }

    private static void CheckSinks(in AttentionProblem problem, nint sinks)
    {
        if (problem.HasSinks && problem.Heads > 0 && sinks == 0)
            throw new ArgumentNullException(nameof(ForwardArguments.Sinks), "The problem has sinks, but their address is null.");
    }

    private static bool HasKeys(in AttentionProblem problem) => (long)problem.Batch * problem.KeyHeadCount * problem.KeyLength > 0;

    private static void Check(in AttentionProblem problem, in ExecutionOptions options)
    {
        problem.Validate();
        if (options.Threads < 0)
            throw new ArgumentOutOfRangeException(nameof(options.Threads), options.Threads, "The number of threads is 0 (one for every processor) or more.");
    }

    private static void Check(in TensorView view, bool hasElements, string name)
    {
        if (hasElements && view.Data == 0)
            throw new ArgumentNullException(name, $"{name} has elements, but its address is null.");
    }

    private static void CheckWritten(in TensorView view, bool hasElements, string name, in AttentionProblem problem, int rows, int columns)
    {
        Check(view, hasElements, name);
        if (!hasElements)
            return;
        bool overlaps = rows > 1 && (Int128)view.RowStride < columns && -(Int128)view.RowStride < columns
            || problem.Heads > 1 && view.HeadStride == 0 || problem.Batch > 1 && view.BatchStride == 0;
        if (overlaps)
        {
            throw new ArgumentException($"{name} is written, but its elements overlap: strides {view.BatchStride} (batch), {view.HeadStride} (head) "
                + $"and {view.RowStride} (row) for rows of {columns} elements.", name);
        }
    }

    private static void Check(in RowStatistics statistics, bool hasElements)
    {
        if (hasElements && statistics.Max == 0)
            throw new ArgumentNullException(nameof(statistics.Max), "The row statistics have elements, but the address of m is null.");
        if (hasElements && statistics.Sum == 0)
            throw new ArgumentNullException(nameof(statistics.Sum), "The row statistics have elements, but the address of l is null.");
    }
}
