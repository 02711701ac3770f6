using System.Numerics;
using TorchFlash.Kernels.Cpu;

namespace TorchFlash.Kernels.Tests.Support;

/// <summary>A problem with all its operands in guarded memory: inputs of normal random numbers, outputs of NaN.</summary>
internal sealed class AttentionCase<T> : IDisposable where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly Operand<T> _max, _sum;
    private readonly bool _perHead;

    /// <param name="problem">Sizes and options; the element type is taken from <typeparamref name="T"/>.</param>
    /// <param name="inputs">Layout of Q, K, V and dO.</param>
    /// <param name="outputs">Layout of O, dQ, dK and dV.</param>
    /// <param name="seed">Seed of the inputs.</param>
    /// <param name="withWeights">Whether there is room for the weights, the one result of size Nq x Nk.</param>
    /// <param name="scores">How what the problem's scores need is made.</param>
    public AttentionCase(AttentionProblem problem, Layout inputs = Layout.Contiguous, Layout outputs = Layout.Contiguous, int seed = 1, bool withWeights = true,
        ScoreOptions? scores = null)
    {
        Problem = problem with { ElementType = ElementTypeOf };
        var query = new Shape(problem.Batch, problem.Heads, problem.QueryLength, problem.HeadDim);
        Shape key = query with { Heads = problem.KeyHeadCount, Rows = problem.KeyLength }, value = key with { Width = problem.ValueDim }, output = query with { Width = problem.ValueDim };
        var random = new Random(seed);
        Query = new Operand<T>(query, inputs).Fill(random.NextNormal);
        Key = new Operand<T>(key, inputs).Fill(random.NextNormal);
        Value = new Operand<T>(value, inputs).Fill(random.NextNormal);
        OutputGradient = new Operand<T>(output, inputs).Fill(random.NextNormal);
        Output = new Operand<T>(output, outputs);
        QueryGradient = new Operand<T>(query, outputs);
        KeyGradient = new Operand<T>(key, outputs);
        ValueGradient = new Operand<T>(value, outputs);
        _max = new Operand<T>(query with { Width = 1 });
        _sum = new Operand<T>(query with { Width = 1 });
        _perHead = scores?.WithHeadWeights ?? false;
        Weights = new Operand<T>(new Shape(withWeights ? problem.Batch : 0, _perHead ? problem.Heads : 1, problem.QueryLength, problem.KeyLength), outputs);
        Scores = new ScoreOperands(new HostMemory(), Problem, scores, random);
    }

    public AttentionProblem Problem { get; }

    public Operand<T> Query { get; }

    public Operand<T> Key { get; }

    public Operand<T> Value { get; }

    public Operand<T> OutputGradient { get; }

    public Operand<T> Output { get; }

    public Operand<T> QueryGradient { get; }

    public Operand<T> KeyGradient { get; }

    public Operand<T> ValueGradient { get; }

    public Operand<T> Weights { get; }

    /// <summary>Captured tensors, sinks, and their gradients.</summary>
    public ScoreOperands Scores { get; }

    /// <summary>m, [B, H, Nq].</summary>
    public T[] Max => _max.ToArray();

    /// <summary>l, [B, H, Nq].</summary>
    public T[] Sum => _sum.ToArray();

    private static ElementType ElementTypeOf => typeof(T) == typeof(float) ? ElementType.Float32 : ElementType.Float64;

    private RowStatistics Statistics => new(_max.View.Data, _sum.View.Data);

    private (string Name, Operand<T> Operand)[] Inputs =>
        [(nameof(Query), Query), (nameof(Key), Key), (nameof(Value), Value), (nameof(OutputGradient), OutputGradient)];

    private (string Name, Operand<T> Operand)[] Outputs =>
        [(nameof(Output), Output), ("m", _max), ("l", _sum), (nameof(QueryGradient), QueryGradient), (nameof(KeyGradient), KeyGradient),
            (nameof(ValueGradient), ValueGradient), (nameof(Weights), Weights)];

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

    public BackwardArguments BackwardArguments => new()
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
    };

    public WeightsArguments WeightsArguments => new()
    {
        Query = Query.View,
        Key = Key.View,
        Statistics = Statistics,
        Weights = Weights.View,
        PerHead = _perHead,
        ScoreTensors = Scores.Views,
    };

    /// <summary>Forward and backward pass.</summary>
    public AttentionCase<T> Run(int threads = 2, IAttentionEngine? engine = null)
    {
        engine ??= CpuEngine.Instance;
        var options = new ExecutionOptions { Threads = threads };
        engine.Forward(Problem, ForwardArguments, options);
        engine.Backward(Problem, BackwardArguments, options);
        return this;
    }

    /// <summary>Forward pass and weights.</summary>
    public AttentionCase<T> RunWeights(int threads = 2, IAttentionEngine? engine = null)
    {
        engine ??= CpuEngine.Instance;
        var options = new ExecutionOptions { Threads = threads };
        engine.Forward(Problem, ForwardArguments, options);
        engine.Weights(Problem, WeightsArguments, options);
        return this;
    }

    /// <summary>Every result of <see cref="Run"/> by name, in dense order.</summary>
    public Dictionary<string, T[]> Results()
    {
        var results = new Dictionary<string, T[]>
        {
            ["O"] = Output.ToArray(),
            ["m"] = Max,
            ["l"] = Sum,
            ["dQ"] = QueryGradient.ToArray(),
            ["dK"] = KeyGradient.ToArray(),
            ["dV"] = ValueGradient.ToArray(),
        };
        foreach ((string name, Operand operand) in Scores.Outputs)
            results.Add(name, Array.ConvertAll(operand.ToArray(), T.CreateTruncating));
        return results;
    }

    /// <summary>Overwrites every output with NaN.</summary>
    public void PoisonOutputs()
    {
        foreach ((_, Operand<T> operand) in Outputs)
            operand.Poison();
        foreach ((_, Operand operand) in Scores.Outputs)
            operand.Poison();
    }

    /// <summary>The definition in <typeparamref name="TReference"/> on the same inputs.</summary>
    public Reference<TReference> Reference<TReference>() where TReference : unmanaged, IBinaryFloatingPointIeee754<TReference> =>
        Testing.Reference<TReference>.Compute(Problem, Query.ToArray<TReference>(), Key.ToArray<TReference>(), Value.ToArray<TReference>(),
            OutputGradient.ToArray<TReference>(), scores: Scores.Inputs);

    /// <summary>No input was written, and of the outputs nothing but their elements.</summary>
    public void AssertMemoryIntact()
    {
        foreach ((string name, Operand<T> operand) in Inputs)
            operand.AssertUnchanged(name);
        foreach ((string name, Operand<T> operand) in Outputs)
            operand.AssertOnlyElementsWritten(name);
        foreach (string complaint in Scores.StrayWrites())
            throw new MismatchException($"{complaint}.");
    }

    /// <summary>Nothing at all was written.</summary>
    public void AssertUntouched()
    {
        foreach ((string name, Operand<T> operand) in Inputs.Concat(Outputs))
            operand.AssertUnchanged(name);
    }

    public void Dispose()
    {
        foreach ((_, Operand<T> operand) in Inputs.Concat(Outputs))
            operand.Dispose();
        Scores.Dispose();
    }

    public override string ToString()
    {
        AttentionProblem p = Problem;
        return $"{p.ElementType} B={p.Batch} H={p.Heads}/{p.KeyHeadCount} Nq={p.QueryLength} Nk={p.KeyLength} d={p.HeadDim} d_v={p.ValueDim} {p.Causal} scale={p.Scale}"
            + (p.Score is null ? "" : $" s'={p.Score.Output} where {p.Score.Visible}") + (p.HasSinks ? " sinks" : "") + (p.Dropout > 0 ? $" dropout={p.Dropout}" : "");
    }
}
