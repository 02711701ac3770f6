using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>
/// Compares gradients from backward() with central differences, in float64. The function is made a number by a fixed random
/// cotangent, L = sum(c o f(x)), so that one backward pass checks every output.
/// </summary>
internal static class Gradcheck
{
    private const double Step = 1e-5;

    /// <summary>Every element of every leaf that requires a gradient.</summary>
    public static void Check(Func<Tensor> function, Tensor[] leaves, double tolerance = 1e-7)
    {
        Tensor output = function();
        Tensor cotangent = TestData.Normal(99, output.shape);
        Tensor[] analytic = TestData.Gradients(output, cotangent, leaves);
        for (int i = 0; i < leaves.Length; i++)
        {
            double[] expected = Numeric(() => (function() * cotangent).sum().item<double>(), leaves[i]);
            double[] actual = TestData.Values(analytic[i]);
            for (int j = 0; j < expected.Length; j++)
            {
                double error = Math.Abs(expected[j] - actual[j]);
                Assert.True(
                    error <= tolerance * (1 + Math.Abs(expected[j])),
                    $"leaf {i} [{string.Join(", ", leaves[i].shape)}], element {j}: central difference {expected[j]}, backward {actual[j]}");
            }
        }
    }

    private static double[] Numeric(Func<double> loss, Tensor leaf)
    {
        using IDisposable noGrad = no_grad();
        Tensor flat = leaf.view(-1); // The leaf's own memory.
        double[] derivative = new double[flat.numel()];
        for (int j = 0; j < derivative.Length; j++)
        {
            using DisposeScope scope = NewDisposeScope();
            Tensor element = flat.narrow(0, j, 1);
            double value = element.item<double>();
            double above = Set(element, value + Step, loss);
            double below = Set(element, value - Step, loss);
            element.fill_(value);
            derivative[j] = (above - below) / (2 * Step);
        }
        return derivative;
    }

    private static double Set(Tensor element, double value, Func<double> loss)
    {
        element.fill_(value);
        return loss();
    }
}
