using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Cuda.Tests;

/// <summary>Which passes a check runs.</summary>
[Flags]
public enum Passes
{
    Forward = 1,
    Backward = 2,
    Weights = 4,
    All = 7,
}

/// <summary>A problem with all its operands in the memory of an emulated device: inputs of normal random numbers, outputs of NaN.</summary>
internal sealed class GpuCase : IDisposable
{
    private readonly int _device;
    private readonly AttentionProblem _problem;
    private readonly double[] _query, _key, _value, _outputGradient;
    private nint _workspace;

    /// <param name="device">One of the emulated devices.</param>
    /// <param name="problem">Sizes and options.</param>
    /// <param name="inputs">Layout of Q, K, V and dO.</param>
    /// <param name="outputs">Layout of O, dQ, dK and dV.</param>
    /// <param name="seed">Seed of the inputs.</param>
    /// <param name="amplitude">Standard deviation of Q and K.</param>
    /// <param name="shift">Added to Q and taken from K: scores far below 0.</param>
    public GpuCase(int device, AttentionProblem problem, DeviceLayout inputs = DeviceLayout.Contiguous, DeviceLayout outputs = DeviceLayout.Contiguous,
        int seed = 1, double amplitude = 1, double shift = 0)
    {
        problem.Validate();
        (_device, _problem) = (device, problem);
        var random = new Random(seed);
        ElementType type = problem.ElementType, compute = type == ElementType.Float64 ? type : ElementType.Float32;
        (int Batch, int Heads, int Rows, int Width) query = (problem.Batch, problem.Heads, problem.QueryLength, problem.HeadDim);
        (int Batch, int Heads, int Rows, int Width) key = (problem.Batch, problem.KeyHeadCount, problem.KeyLength, problem.HeadDim);
        Query = new DeviceOperand(device, type, query, inputs).Fill(() => amplitude * random.NextNormal() + shift);
        Key = new DeviceOperand(device, type, key, inputs).Fill(() => amplitude * random.NextNormal() - shift);
        Value = new DeviceOperand(device, type, key with { Width = problem.ValueDim }, inputs).Fill(random.NextNormal);
        OutputGradient = new DeviceOperand(device, type, query with { Width = problem.ValueDim }, inputs).Fill(random.NextNormal);
        Output = new DeviceOperand(device, type, query with { Width = problem.ValueDim }, outputs);
        QueryGradient = new DeviceOperand(device, type, query, outputs);
        KeyGradient = new DeviceOperand(device, type, key, outputs);
        ValueGradient = new DeviceOperand(device, type, key with { Width = problem.ValueDim }, outputs);
        Max = new DeviceOperand(device, compute, query with { Width = 1 });
        Sum = new DeviceOperand(device, compute, query with { Width = 1 });
        Weights = new DeviceOperand(device, type, (problem.Batch, 1, problem.QueryLength, problem.KeyLength), outputs);
        (_query, _key, _value, _outputGradient) = (Query.ToArray(), Key.ToArray(), Value.ToArray(), OutputGradient.ToArray());
    }

    public AttentionProblem Problem => _problem;

    public DeviceOperand Query { get; }

    public DeviceOperand Key { get; }

    public DeviceOperand Value { get; }

    public DeviceOperand OutputGradient { get; }

    public DeviceOperand Output { get; }

    public DeviceOperand QueryGradient { get; }

    public DeviceOperand KeyGradient { get; }

    public DeviceOperand ValueGradient { get; }

    public DeviceOperand Weights { get; }

    public DeviceOperand Max { get; }

    public DeviceOperand Sum { get; }

    private RowStatistics Statistics => new(Max.View.Data, Sum.View.Data);

    private DeviceOperand[] Inputs => [Query, Key, Value, OutputGradient];

    private (string Name, DeviceOperand Operand)[] Outputs =>
        [("O", Output), ("m", Max), ("l", Sum), ("dQ", QueryGradient), ("dK", KeyGradient), ("dV", ValueGradient), ("weights", Weights)];

    public ForwardArguments ForwardArguments => new()
    {
        Query = Query.View,
        Key = Key.View,
        Value = Value.View,
        Output = Output.View,
        Statistics = Statistics,
    };

    /// <summary>With a workspace that nobody has used yet.</summary>
    public BackwardArguments BackwardArguments(CudaEngine engine, in ExecutionOptions options = default)
    {
        FreeWorkspace();
        long bytes = engine.BackwardWorkspace(_problem, options);
        _workspace = bytes == 0 ? 0 : EmulatedDevices.Allocate(_device, bytes);
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
            Workspace = _workspace,
        };
    }

    public WeightsArguments WeightsArguments => new()
    {
        Query = Query.View,
        Key = Key.View,
        Statistics = Statistics,
        Weights = Weights.View,
    };

    /// <summary>Runs passes and holds what they wrote against the reference; nothing else may have been written.</summary>
    public static void Check(int device, AttentionProblem problem, Passes passes = Passes.Forward | Passes.Backward, DeviceLayout inputs = DeviceLayout.Contiguous,
        DeviceLayout outputs = DeviceLayout.Contiguous, bool deterministic = false, KernelTuning? tuning = null, KernelSources? sources = null,
        int seed = 1, double amplitude = 1, double shift = 0)
    {
        using var attention = new GpuCase(device, problem, inputs, outputs, seed, amplitude, shift);
        attention.Run(EmulatedDevices.Engine(device, tuning, sources), passes, deterministic).AssertResults(passes);
    }

    /// <summary>Runs passes; without the forward pass, O, m and l are what it ought to have written.</summary>
    public GpuCase Run(CudaEngine engine, Passes passes = Passes.Forward | Passes.Backward, bool deterministic = false)
    {
        var options = new ExecutionOptions { Deterministic = deterministic };
        if (passes.HasFlag(Passes.Forward))
            engine.Forward(_problem, ForwardArguments, options);
        else
            PutForwardResults();
        if (passes.HasFlag(Passes.Backward))
            engine.Backward(_problem, BackwardArguments(engine, options), options);
        if (passes.HasFlag(Passes.Weights))
            engine.AverageWeights(_problem, WeightsArguments, options);
        return this;
    }

    /// <summary>What the passes wrote is right, and nothing else was written.</summary>
    public void AssertResults(Passes passes)
    {
        var expected = new GpuExpectation(_problem, _query, _key, _value, _outputGradient);
        if (passes.HasFlag(Passes.Forward))
            expected.AssertForward(ToString(), Output.ToArray(), Max.ToArray(), Sum.ToArray());
        if (passes.HasFlag(Passes.Backward))
            expected.AssertBackward(ToString(), QueryGradient.ToArray(), KeyGradient.ToArray(), ValueGradient.ToArray());
        if (passes.HasFlag(Passes.Weights))
            expected.AssertWeights(ToString(), Weights.ToArray());
        AssertMemoryIntact();
    }

    /// <summary>No input was written, and of the outputs nothing but their elements.</summary>
    public void AssertMemoryIntact()
    {
        foreach (DeviceOperand operand in Inputs)
            operand.AssertOnlyElementsWritten("an input", isInput: true);
        foreach ((string name, DeviceOperand operand) in Outputs)
            operand.AssertOnlyElementsWritten(name, isInput: false);
    }

    /// <summary>Every result by name, in dense order.</summary>
    public Dictionary<string, double[]> Results() => Outputs.ToDictionary(o => o.Name, o => o.Operand.ToArray());

    /// <summary>O, m, l from the reference, for backward kernels alone.</summary>
    public void PutForwardResults()
    {
        var expected = new GpuExpectation(_problem, _query, _key, _value, _outputGradient);
        (double[] output, double[] max, double[] sum) = expected.ForwardResults();
        Output.Fill(output);
        Max.Fill(max);
        Sum.Fill(sum);
    }

    public void Dispose()
    {
        FreeWorkspace();
        foreach (DeviceOperand operand in Inputs.Concat(Outputs.Select(o => o.Operand)))
            operand.Dispose();
    }

    public override string ToString()
    {
        AttentionProblem p = _problem;
        return $"{p.ElementType} on device {_device} B={p.Batch} H={p.Heads}/{p.KeyHeadCount} Nq={p.QueryLength} Nk={p.KeyLength} d={p.HeadDim} d_v={p.ValueDim} {p.Causal} scale={p.Scale}";
    }

    private void FreeWorkspace()
    {
        if (_workspace != 0)
            EmulatedDevices.Free(_device, _workspace);
        _workspace = 0;
    }
}
