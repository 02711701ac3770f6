using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests;

/// <summary>The backward pass against central differences of f = sum(dO o O) through the forward pass: no reference involved.</summary>
public class GradientCheckTests
{
    private const double Step = 1e-5;

    [Theory]
    [InlineData(5, 7, CausalMask.None)]
    [InlineData(5, 7, CausalMask.TopLeft)]
    [InlineData(5, 7, CausalMask.BottomRight)]
    [InlineData(7, 5, CausalMask.BottomRight)]
    [InlineData(40, 35, CausalMask.None)]
    [InlineData(35, 40, CausalMask.TopLeft)]
    public void BackwardIsTheDerivativeOfForward(int nq, int nk, CausalMask mask)
    {
        using var attention = new AttentionCase<double>(new AttentionProblem
        {
            Batch = 1,
            Heads = 2,
            QueryLength = nq,
            KeyLength = nk,
            HeadDim = 3,
            ValueDim = 4,
            Scale = 0.7,
            Causal = mask,
        });
        attention.Run();
        Check("dQ", attention, attention.Query, nq, 3, attention.QueryGradient);
        Check("dK", attention, attention.Key, nk, 3, attention.KeyGradient);
        Check("dV", attention, attention.Value, nk, 4, attention.ValueGradient);
    }

    private static void Check(string name, AttentionCase<double> attention, Operand<double> input, int rows, int width, Operand<double> gradient)
    {
        for (int h = 0; h < 2; h++)
            for (int n = 0; n < rows; n++)
                for (int x = 0; x < width; x++)
                {
                    double at = input[0, h, n, x];
                    input[0, h, n, x] = at + Step;
                    double above = Objective(attention);
                    input[0, h, n, x] = at - Step;
                    double below = Objective(attention);
                    input[0, h, n, x] = at;
                    double expected = (above - below) / (2 * Step), actual = gradient[0, h, n, x];
                    Assert.True(Math.Abs(actual - expected) <= 1e-8 * (1 + Math.Abs(expected)), $"{name}[{h}, {n}, {x}] is {actual}, the central difference {expected}");
                }
    }

    private static double Objective(AttentionCase<double> attention)
    {
        CpuEngine.Instance.Forward(attention.Problem, attention.ForwardArguments);
        return attention.Output.ToArray().Zip(attention.OutputGradient.ToArray(), (o, w) => o * w).Sum();
    }
}
