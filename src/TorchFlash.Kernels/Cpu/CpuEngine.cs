namespace TorchFlash.Kernels.Cpu;

/// <summary>The engine for processors: C# SIMD, float32 and float64.</summary>
public sealed unsafe class CpuEngine : IAttentionEngine
{
    /// <summary>The one instance; it holds no state of its own.</summary>
    public static CpuEngine Instance { get; } = new();

    private CpuEngine()
    {
    }

    /// <inheritdoc/>
    public string Name => "cpu";

    /// <inheritdoc/>
    public string Describe() => "cpu: scaffold";

    /// <inheritdoc/>
    public void Forward(in AttentionProblem problem, in ForwardArguments arguments, in ExecutionOptions options = default)
    {
        problem.Validate();
        if (problem.ElementType == ElementType.Float32)
            Scaffold<float>.Forward(problem, arguments);
        else
            Scaffold<double>.Forward(problem, arguments);
    }

    /// <inheritdoc/>
    public void Backward(in AttentionProblem problem, in BackwardArguments arguments, in ExecutionOptions options = default)
    {
        problem.Validate();
        if (problem.ElementType == ElementType.Float32)
            Scaffold<float>.Backward(problem, arguments);
        else
            Scaffold<double>.Backward(problem, arguments);
    }

    /// <inheritdoc/>
    public void AverageWeights(in AttentionProblem problem, in WeightsArguments arguments, in ExecutionOptions options = default)
    {
        problem.Validate();
        if (problem.ElementType == ElementType.Float32)
            Scaffold<float>.Weights(problem, arguments);
        else
            Scaffold<double>.Weights(problem, arguments);
    }
}
