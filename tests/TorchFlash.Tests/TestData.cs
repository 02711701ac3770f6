using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>Tensors with fixed pseudo-random contents, and comparisons.</summary>
internal static class TestData
{
    /// <summary>Standard normal values; the same for the same seed and number of elements.</summary>
    public static Tensor Normal(int seed, long[] shape, ScalarType dtype = ScalarType.Float64, bool requiresGrad = false)
    {
        Random random = new(seed);
        double[] values = new double[shape.Aggregate(1L, (a, b) => a * b)];
        for (int i = 0; i < values.Length; i++)
            values[i] = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
        return tensor(values, shape).to(dtype).requires_grad_(requiresGrad);
    }

    /// <summary>Q, K, V, [B, H, N, d], and dO.</summary>
    public static (Tensor Q, Tensor K, Tensor V, Tensor Cotangent) Operands(
        long batch, long heads, long queries, long keys, long dim, long valueDim, ScalarType dtype = ScalarType.Float64, bool requiresGrad = true) =>
        (
            Normal(1, [batch, heads, queries, dim], dtype, requiresGrad),
            Normal(2, [batch, heads, keys, dim], dtype, requiresGrad),
            Normal(3, [batch, heads, keys, valueDim], dtype, requiresGrad),
            Normal(4, [batch, heads, queries, valueDim], dtype));

    /// <summary>Fails with the largest difference; NaN differs from everything.</summary>
    public static void Close(Tensor expected, Tensor actual, double tolerance, string what = "")
    {
        Assert.Equal(expected.shape, actual.shape);
        if (expected.numel() == 0)
            return;
        double difference = (expected.detach().to(ScalarType.Float64) - actual.detach().to(ScalarType.Float64)).abs().max().item<double>();
        Assert.True(difference <= tolerance, $"{what} differs by {difference}, more than {tolerance}");
    }

    /// <summary>Every bit the same, NaN included.</summary>
    public static void Identical(Tensor expected, Tensor actual, string what = "")
    {
        Assert.Equal(expected.shape, actual.shape);
        Assert.True(Bits(expected).SequenceEqual(Bits(actual)), $"{what} is not bitwise the same");
    }

    /// <summary>All elements, row-major, in double precision.</summary>
    public static double[] Values(Tensor t) => t.detach().to(ScalarType.Float64).contiguous().data<double>().ToArray();

    private static IEnumerable<long> Bits(Tensor t) => Values(t).Select(BitConverter.DoubleToInt64Bits);

    /// <summary>Gradient of sum(output * cotangent) with respect to the leaves, which are cleared first.</summary>
    public static Tensor[] Gradients(Tensor output, Tensor cotangent, params Tensor[] leaves)
    {
        foreach (Tensor leaf in leaves)
            leaf.grad = null;
        (output * cotangent).sum().backward();
        return [.. leaves.Select(leaf => leaf.grad!.clone())];
    }
}
