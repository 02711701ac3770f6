namespace TorchFlash.Testing;

/// <summary>Which passes a check runs.</summary>
[Flags]
public enum Passes
{
    Forward = 1,
    Backward = 2,
    Weights = 4,
    All = 7,
}

/// <summary>A problem with all its operands in the memory of a device: inputs of normal random numbers, outputs of NaN.</summary>
internal class DeviceCase : IDisposable
{
    private readonly IOperandMemory _memory;
    private readonly AttentionProblem _problem;
    private readonly double[] _query, _key, _value, _outputGradient;
    private readonly bool _perHead;
    private nint _workspace;

    /// <param name="memory">The device's.</param>
    /// <param name="problem">Sizes and options.</param>
    /// <param name="inputs">Layout of Q, K, V and dO.</param>
    /// <param name="outputs">Layout of O, dQ, dK and dV.</param>
    /// <param name="seed">Seed of the inputs.</param>
    /// <param name="amplitude">Standard deviation of Q and K.</param>
    /// <param name="shift">Added to Q and taken from K: scores far below 0.</param>
    /// <param name="scores">How what the problem's scores need is made.</param>
    public DeviceCase(IOperandMemory memory, AttentionProblem problem, Layout inputs = Layout.Contiguous, Layout outputs = Layout.Contiguous,
        int seed = 1, double amplitude = 1, double shift = 0, ScoreOptions? scores = null)
    {
        problem.Validate();
        (_memory, _problem) = (memory, problem);
        var random = new Random(seed);
        ElementType type = problem.ElementType, compute = type == ElementType.Float64 ? type : ElementType.Float32;
        var query = new Shape(problem.Batch, problem.Heads, problem.QueryLength, problem.HeadDim);
        Shape output = query with { Width = problem.ValueDim }, row = query with { Width = 1 };
        Shape key = query with { Heads = problem.KeyHeadCount, Rows = problem.KeyLength }, value = key with { Width = problem.ValueDim };
        Query = new Operand(memory, type, query, inputs).Fill(() => amplitude * random.NextNormal() + shift);
        Key = new Operand(memory, type, key, inputs).Fill(() => amplitude * random.NextNormal() - shift);
        Value = new Operand(memory, type, value, inputs).Fill(random.NextNormal);
        OutputGradient = new Operand(memory, type, output, inputs).Fill(random.NextNormal);
        Output = new Operand(memory, type, output, outputs);
        QueryGradient = new Operand(memory, type, query, outputs);
        KeyGradient = new Operand(memory, type, key, outputs);
        ValueGradient = new Operand(memory, type, value, outputs);
        Max = new Operand(memory, compute, row);
        Sum = new Operand(memory, compute, row);
        _perHead = scores?.WithHeadWeights ?? false;
        Weights = new Operand(memory, type, new Shape(problem.Batch, _perHead ? problem.Heads : 1, problem.QueryLength, problem.KeyLength), outputs);
        Scores = new ScoreOperands(memory, problem, scores, random);
        (_query, _key, _value, _outputGradient) = (Query.ToArray(), Key.ToArray(), Value.ToArray(), OutputGradient.ToArray());
    }

    public AttentionProblem Problem => _problem;

    public Operand Query { get; }

    public Operand Key { get; }

    public Operand Value { get; }

    public Operand OutputGradient { get; }

    public Operand Output { get; }

    public Operand QueryGradient { get; }

    public Operand KeyGradient { get; }

    public Operand ValueGradient { get; }

    public Operand Weights { get; }

    /// <summary>Captured tensors, sinks, and their gradients.</summary>
    public ScoreOperands Scores { get; }

    public Operand Max { get; }

    public Operand Sum { get; }

    /// <summary>See <see cref="Testing.Expectation"/>.</summary>
    public double ScoreRoundings { get; init; } = 1;

    /// <summary>What the passes have to write, given the inputs as they were made.</summary>
    private Expectation Expectation => field ??= new Expectation(_problem, _query, _key, _value, _outputGradient, ScoreRoundings, Scores.Inputs);

    private RowStatistics Statistics => new(Max.View.Data, Sum.View.Data);

    private Operand[] Inputs => [Query, Key, Value, OutputGradient];

    public (string Name, Operand Operand)[] Outputs =>
    [
        ("O", Output), ("m", Max), ("l", Sum), ("dQ", QueryGradient), ("dK", KeyGradient), ("dV", ValueGradient), ("weights", Weights),
            .. Scores.Outputs];

    public ForwardArguments ForwardArguments => new()
    {
        Query = Query.View,
        Key = Key.View,
        Value = Value.View,
        Output = Output.View,
        Statistics = Statistics,
        ScoreTensors = Scores.Views,
        Sinks = Scores.SinkData,
    };

    /// <summary>With a workspace that nobody has used yet.</summary>
    public BackwardArguments BackwardArguments(IAttentionEngine engine, in ExecutionOptions options = default)
    {
        FreeWorkspace();
        long bytes = engine.BackwardWorkspace(_problem, options);
        _workspace = bytes == 0 ? 0 : _memory.Allocate(bytes);
        return new BackwardArguments
        {
            Query = Query.View,
            Key = Key.View,
            Value = Value.View,
            Output = Output.View,
            OutputGradient = OutputGradient.View,
            Statistics = Statistics,
            QueryGradient = QueryGradient.View,
            KeyGradient = KeyGradient.View,
            ValueGradient = ValueGradient.View,
            ScoreTensors = Scores.Views,
            Sinks = Scores.SinkData,
            ScoreTensorGradients = Scores.Gradients,
            SinkGradient = Scores.SinkGradientData,
            LogSumExpGradient = Scores.LogSumExpGradientData,
            Workspace = _workspace,
        };
    }

    public WeightsArguments WeightsArguments => new()
    {
        Query = Query.View,
        Key = Key.View,
        Statistics = Statistics,
        Weights = Weights.View,
        PerHead = _perHead,
        ScoreTensors = Scores.Views,
    };

    /// <summary>Runs passes; without the forward pass, O, m and l are what it ought to have written.</summary>
    public DeviceCase Run(IAttentionEngine engine, Passes passes = Passes.Forward | Passes.Backward, bool deterministic = false, int threads = 0)
    {
        var options = new ExecutionOptions { Deterministic = deterministic, Threads = threads };
        if (passes.HasFlag(Passes.Forward))
            engine.Forward(_problem, ForwardArguments, options);
        else
            PutForwardResults();
        if (passes.HasFlag(Passes.Backward))
            engine.Backward(_problem, BackwardArguments(engine, options), options);
        if (passes.HasFlag(Passes.Weights))
            engine.Weights(_problem, WeightsArguments, options);
        return this;
    }

    /// <summary>What the passes wrote beside what they have to write.</summary>
    public IEnumerable<Comparison> Compare(Passes passes) =>
    [
        .. passes.HasFlag(Passes.Forward) ? Expectation.Forward(Output.ToArray(), Max.ToArray(), Sum.ToArray()) : [],
        .. passes.HasFlag(Passes.Backward) ? Expectation.Backward(QueryGradient.ToArray(), KeyGradient.ToArray(), ValueGradient.ToArray(), Scores) : [],
        .. passes.HasFlag(Passes.Weights) ? [Expectation.Weights(Weights.ToArray())] : Array.Empty<Comparison>(),
    ];

    /// <summary>What the passes wrote is right, and nothing else was written.</summary>
    public void AssertResults(Passes passes)
    {
        Expectation.Assert(ToString(), Compare(passes));
        AssertMemoryIntact();
    }

    /// <summary>No input was written, and of the outputs nothing but their elements.</summary>
    public void AssertMemoryIntact()
    {
        foreach (string complaint in StrayWrites())
            throw new MismatchException($"{complaint}, of {ToString()}.");
    }

    /// <summary>What was written that may not be.</summary>
    public IEnumerable<string> StrayWrites() => Scores.StrayWrites().Concat(
        from operand in Inputs.Select(o => (Name: "an input", Operand: o, IsInput: true)).Concat(Outputs.Select(o => (o.Name, o.Operand, IsInput: false)))
        let complaint = operand.Operand.StrayWrite(operand.IsInput)
        where complaint is not null
        select $"{operand.Name} {complaint}");

    /// <summary>Overwrites every output with NaN.</summary>
    public void PoisonOutputs()
    {
        foreach ((_, Operand operand) in Outputs)
            operand.Poison();
    }

    /// <summary>Every result by name, in dense order.</summary>
    public Dictionary<string, double[]> Results() => Outputs.ToDictionary(o => o.Name, o => o.Operand.ToArray());

    /// <summary>O, m, l from the reference, for backward kernels alone.</summary>
    public void PutForwardResults()
    {
        (double[] output, double[] max, double[] sum) = Expectation.ForwardResults();
        Output.Fill(output);
        Max.Fill(max);
        Sum.Fill(sum);
    }

    public void Dispose()
    {
        FreeWorkspace();
        foreach (Operand operand in Inputs.Concat(Outputs.Select(o => o.Operand)).Except(Scores.Outputs.Select(o => o.Operand)))
            operand.Dispose();
        Scores.Dispose();
    }

    public override string ToString()
    {
        AttentionProblem p = _problem;
        return $"{p.ElementType} B={p.Batch} H={p.Heads}/{p.KeyHeadCount} Nq={p.QueryLength} Nk={p.KeyLength} d={p.HeadDim} d_v={p.ValueDim} {p.Causal} scale={p.Scale}";
    }

    private void FreeWorkspace()
    {
        if (_workspace != 0)
            _memory.Free(_workspace);
        _workspace = 0;
    }
}
