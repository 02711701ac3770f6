using TorchFlash.Kernels.Scores;

namespace TorchFlash.Testing;

/// <summary>How the operands that a problem's scores need are made.</summary>
internal sealed record ScoreOptions
{
    /// <summary>Elements of captured tensors; null: normal random numbers, truth values of which three in four are true, integers of 0.</summary>
    public Func<ScoreTensor, int[], double>? Values { get; init; }

    /// <summary>Strides of captured tensors; null, of any: densely.</summary>
    public Func<ScoreTensor, long[]?>? Strides { get; init; }

    /// <summary>Which captured tensors of real numbers get a gradient; null: all.</summary>
    public Func<ScoreTensor, bool>? WantsGradient { get; init; }

    /// <summary>Whether the log-sum-exp has a gradient.</summary>
    public bool WithLogSumExpGradient { get; init; }

    /// <summary>Whether the weights of every head are wanted, not their average.</summary>
    public bool WithHeadWeights { get; init; }

    /// <summary>Which weights dropout keeps.</summary>
    public Func<int, int, int, int, bool>? Keep { get; init; }
}

/// <summary>Captured tensors, sinks and their gradients in a device's memory.</summary>
internal sealed class ScoreOperands : IDisposable
{
    private readonly AttentionProblem _problem;
    private readonly ScoreOptions _options;

    public ScoreOperands(IOperandMemory memory, AttentionProblem problem, ScoreOptions? options, Random random)
    {
        (_problem, _options) = (problem, options ?? new ScoreOptions());
        ElementType compute = problem.ElementType == ElementType.Float64 ? problem.ElementType : ElementType.Float32;
        Func<ScoreTensor, int[], double> values = _options.Values ?? ((tensor, _) => tensor.Kind switch
        {
            ScoreKind.Real => random.NextNormal(),
            ScoreKind.Bool => random.Next(4) > 0 ? 1 : 0,
            _ => 0,
        });
        Captured = [.. (problem.Score?.Tensors ?? []).Select(tensor =>
            new Captured(memory, compute, tensor, index => values(tensor, index), _options.Strides?.Invoke(tensor)))];
        var heads = new Shape(1, 1, 1, problem.HasSinks ? problem.Heads : 0);
        Sinks = new Operand(memory, compute, heads).Fill(random.NextNormal);
        SinkGradient = new Operand(memory, compute, heads);
        LogSumExpGradient = new Operand(memory, compute,
            new Shape(problem.Batch, problem.Heads, _options.WithLogSumExpGradient ? problem.QueryLength : 0, 1)).Fill(random.NextNormal);
    }

    public IReadOnlyList<Captured> Captured { get; }

    public Operand Sinks { get; }

    public Operand SinkGradient { get; }

    public Operand LogSumExpGradient { get; }

    /// <summary>As the passes take them.</summary>
    public CapturedView[]? Views => Captured.Count == 0 ? null : [.. Captured.Select(c => c.View)];

    public nint[]? Gradients => Captured.Count == 0 ? null : [.. Captured.Select(c => HasGradient(c) ? c.Gradient.View.Data : 0)];

    public nint SinkData => _problem.HasSinks ? Sinks.View.Data : 0;

    public nint SinkGradientData => _problem.HasSinks ? SinkGradient.View.Data : 0;

    public nint LogSumExpGradientData => _options.WithLogSumExpGradient ? LogSumExpGradient.View.Data : 0;

    /// <summary>As the reference takes them.</summary>
    public ScoreInputs Inputs => new()
    {
        Load = Element,
        Sinks = _problem.HasSinks ? Sinks.ToArray() : null,
        Keep = _options.Keep,
        LogSumExpGradient = _options.WithLogSumExpGradient ? LogSumExpGradient.ToArray() : null,
        WithHeadWeights = _options.WithHeadWeights,
    };

    /// <summary>What the backward pass writes.</summary>
    public IEnumerable<(string Name, Operand Operand)> Outputs =>
        [.. Captured.Where(HasGradient).Select(c => ($"d{c.Tensor.Name}", c.Gradient)), .. _problem.HasSinks ? [("dsinks", SinkGradient)] : Array.Empty<(string, Operand)>()];

    /// <summary>The gradients of captured tensors, null where none is wanted, and of the sinks.</summary>
    public Dictionary<ScoreTensor, double[]> TensorGradients => Captured.Where(HasGradient).ToDictionary(c => c.Tensor, c => c.Gradient.ToArray());

    /// <summary>What was written that may not be.</summary>
    public IEnumerable<string> StrayWrites() =>
        from operand in Captured.Select(c => (c.Tensor.Name, Complaint: c.StrayWrite()))
            .Append((Name: "the sinks", Complaint: Sinks.StrayWrite(isInput: true)))
            .Append((Name: "the gradient of the log-sum-exp", Complaint: LogSumExpGradient.StrayWrite(isInput: true)))
            .Concat(Outputs.Select(o => (o.Name, Complaint: o.Operand.StrayWrite(isInput: false))))
        where operand.Complaint is not null
        select $"{operand.Name} {operand.Complaint}";

    public void Dispose()
    {
        foreach (IDisposable operand in (IDisposable[])[.. Captured, Sinks, SinkGradient, LogSumExpGradient])
            operand.Dispose();
    }

    private bool HasGradient(Captured c) => c.Tensor.Kind == ScoreKind.Real && (_options.WantsGradient?.Invoke(c.Tensor) ?? true);

    private double Element(ScoreTensor tensor, int[] index)
    {
        foreach (Captured c in Captured)
            if (c.Tensor == tensor)
                return c[index];
        throw new ArgumentException($"{tensor.Name} is not captured.", nameof(tensor));
    }
}
