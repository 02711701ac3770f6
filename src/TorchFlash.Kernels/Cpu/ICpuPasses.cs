using System.Numerics;
using TorchFlash.Kernels.Cpu.Lanes;

namespace TorchFlash.Kernels.Cpu;

/// <summary>The passes for one register width and element type.</summary>
internal interface ICpuPasses
{
    void Forward(in AttentionProblem problem, in ForwardArguments arguments, int threads);

    void Backward(in AttentionProblem problem, in BackwardArguments arguments, int threads);

    void AverageWeights(in AttentionProblem problem, in WeightsArguments arguments, int threads);
}

internal sealed class CpuPasses<V, T> : ICpuPasses
    where V : unmanaged, ILanes<V, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public void Forward(in AttentionProblem problem, in ForwardArguments arguments, int threads) => ForwardPass<V, T>.Run(problem, arguments, threads);

    public void Backward(in AttentionProblem problem, in BackwardArguments arguments, int threads) => BackwardPass<V, T>.Run(problem, arguments, threads);

    public void AverageWeights(in AttentionProblem problem, in WeightsArguments arguments, int threads) => WeightsPass<V, T>.Run(problem, arguments, threads);
}
