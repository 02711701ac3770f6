using System.Numerics;
using TorchFlash.Kernels.Cpu;

namespace TorchFlash.Kernels.Tests.Support;

/// <summary>How far from the reference a result may be.</summary>
internal static class Accuracy
{
    /// <summary>
    /// Runs both passes in every vector width, holds O, m, l, dQ, dK and dV against the reference, and looks for stray writes.
    /// </summary>
    public static void AssertRunMatchesReference<T>(AttentionCase<T> attention, int threads = 2)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var expectation = new Expectation(attention.Problem, attention.Query.ToArray<double>(), attention.Key.ToArray<double>(),
            attention.Value.ToArray<double>(), attention.OutputGradient.ToArray<double>(), scores: attention.Scores.Inputs);
        foreach (CpuEngine engine in Engines.Widths)
        {
            attention.PoisonOutputs();
            attention.Run(threads, engine);
            attention.AssertMemoryIntact();
            string name = $"{attention} {engine.VectorBits} bit";
            Expectation.Assert(name, expectation.Forward(attention.Output.ToArray<double>(), Double(attention.Max), Double(attention.Sum)));
            Expectation.Assert(name, expectation.Backward(
                attention.QueryGradient.ToArray<double>(), attention.KeyGradient.ToArray<double>(), attention.ValueGradient.ToArray<double>(), attention.Scores));
        }
    }

    /// <summary>The bar of <see cref="Expectation"/>; <paramref name="unavoidable"/> is added to it.</summary>
    public static void AssertClose<T>(string name, T[] actual, double[] reference, T[] naive, double unavoidable = 0)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        ElementType type = typeof(T) == typeof(float) ? ElementType.Float32 : ElementType.Float64;
        Expectation.Assert(name, [Expectation.Compare("a result", Double(actual), reference, naive, unavoidable, type)]);
    }

    /// <summary>Equal bit for bit, NaN payloads apart.</summary>
    public static void AssertBitwiseEqual<T>(string name, T[] expected, T[] actual) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
            if (!expected[i].Equals(actual[i]) || T.IsNegative(expected[i]) != T.IsNegative(actual[i]) && !T.IsNaN(expected[i]))
                Assert.Fail($"{name}: element {i} is {actual[i]} instead of {expected[i]}.");
    }

    private static double[] Double<T>(T[] values) where T : unmanaged, IBinaryFloatingPointIeee754<T> => Array.ConvertAll(values, double.CreateTruncating);
}
