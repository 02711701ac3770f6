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
    public static void Check(Func<Tensor> function, Tensor[] leaves, double tolerance = 1e-7) => Check(function, function, leaves, tolerance);

    /// <summary>
    /// Gradients of gradients, with respect to every leaf and to the cotangent: those that libtorch finds in the graph of the first ones,
    /// against central differences of the first ones as they come without a graph.
    /// </summary>
    public static void CheckTwice(Func<Tensor> function, Tensor[] leaves, double tolerance = 1e-6)
    {
        Tensor cotangent = TestData.Normal(98, function().shape, requiresGrad: true);
        TestData.Close(First(createGraph: false), First(createGraph: true), 1e-10, "gradient with create_graph");
        Check(() => First(createGraph: true), () => First(createGraph: false), [.. leaves, cotangent], tolerance);

        Tensor First(bool createGraph)
        {
            using IDisposable grad = enable_grad();
            IList<Tensor> gradients = autograd.grad([(function() * cotangent).sum()], leaves, retain_graph: createGraph, create_graph: createGraph);
            Tensor first = cat([.. gradients.Select(gradient => gradient.reshape(-1))]);
            return leaves.Aggregate(first, (sum, leaf) => sum + 0 * leaf.sum()); // dV, say, does not depend on V: no gradient would be null.
        }
    }

    private static void Check(Func<Tensor> function, Func<Tensor> differenced, Tensor[] leaves, double tolerance)
    {
        Tensor output = function();
        Tensor cotangent = TestData.Normal(99, output.shape);
        Tensor[] analytic = TestData.Gradients(output, cotangent, leaves);
        for (int i = 0; i < leaves.Length; i++)
        {
            double[] expected = Numeric(() => (differenced() * cotangent).sum().item<double>(), leaves[i]);
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
