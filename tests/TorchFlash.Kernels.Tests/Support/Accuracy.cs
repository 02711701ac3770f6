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
        Reference<double> reference = attention.Reference<double>();
        Reference<T> naive = attention.Reference<T>();
        foreach (CpuEngine engine in Engines.Widths)
        {
            attention.PoisonOutputs();
            attention.Run(threads, engine);
            attention.AssertMemoryIntact();
            AssertMatches($"{attention} {engine.VectorBits} bit", attention, reference, naive);
        }
    }

    private static void AssertMatches<T>(string name, AttentionCase<T> attention, Reference<double> reference, Reference<T> naive)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        // A few roundings of the scores, which P and dS inherit: unavoidable, yet small problems are sometimes spared them by
        // luck (a row of one key has dS = 0 exactly when delta happens to be summed in the order of dP).
        double score = UnitRoundoff<T>() * Math.Max(12, reference.LargestScore);
        double row = score * reference.LargestRowCancellation, column = Math.Max(row, score * reference.LargestColumnCancellation);

        AssertClose($"O of {name}", attention.Output.ToArray(), reference.Output, naive.Output, score * RootMeanSquare(attention.Value));
        AssertClose($"dQ of {name}", attention.QueryGradient.ToArray(), reference.QueryGradient, naive.QueryGradient, row * RootMeanSquare(attention.Key));
        AssertClose($"dK of {name}", attention.KeyGradient.ToArray(), reference.KeyGradient, naive.KeyGradient, column * RootMeanSquare(attention.Query));
        AssertClose($"dV of {name}", attention.ValueGradient.ToArray(), reference.ValueGradient, naive.ValueGradient, score * RootMeanSquare(attention.OutputGradient));

        T scale = T.CreateChecked(Math.Abs(attention.Problem.Scale));
        T[] max = Array.ConvertAll(attention.Max, m => T.IsNegativeInfinity(m) ? m : scale * m);
        T[] logSumExp = max.Zip(attention.Sum, (m, l) => m + T.Log(l)).ToArray();
        AssertClose($"|scale| m of {name}", max, reference.Max, naive.Max, 4 * score);
        AssertClose($"|scale| m + ln l of {name}", logSumExp, reference.LogSumExp, naive.LogSumExp, 4 * score);
    }

    /// <summary>
    /// float: the bar of FlashAttention's own tests, max|x - ref| &lt;= 2 max|naive - ref| + 2 max|ref + 0.3 - 0.3 - ref|;
    /// double: 1e-12 of the largest element. <paramref name="unavoidable"/> is added to either.
    /// </summary>
    public static void AssertClose<T>(string name, T[] actual, double[] reference, T[] naive, double unavoidable = 0)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        Assert.Equal(reference.Length, actual.Length);
        double bar = typeof(T) == typeof(float)
            ? 2 * LargestError(naive, reference).Error + 2 * LargestRounding(reference) + unavoidable
            : 1e-12 * Largest(reference) + 2 * unavoidable;
        (double error, int at) = LargestError(actual, reference);
        if (!(error <= bar)) // NaN fails
            Assert.Fail($"{name}: element {at} is {actual[at]} instead of {reference[at]:R}, off by {error:G3}, allowed {bar:G3}.");
    }

    /// <summary>Equal bit for bit, NaN payloads apart.</summary>
    public static void AssertBitwiseEqual<T>(string name, T[] expected, T[] actual) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
            if (!expected[i].Equals(actual[i]) || T.IsNegative(expected[i]) != T.IsNegative(actual[i]) && !T.IsNaN(expected[i]))
                Assert.Fail($"{name}: element {i} is {actual[i]} instead of {expected[i]}.");
    }

    private static double Largest(double[] values)
    {
        double largest = 0;
        foreach (double value in values)
            if (double.IsFinite(value))
                largest = Math.Max(largest, Math.Abs(value));
        return largest;
    }

    private static double UnitRoundoff<T>() => Math.ScaleB(1, typeof(T) == typeof(float) ? -24 : -53);

    private static double RootMeanSquare<T>(Operand<T> operand) where T : unmanaged, IBinaryFloatingPointIeee754<T> =>
        Math.Sqrt(operand.ToArray<double>().Where(double.IsFinite).Select(x => x * x).DefaultIfEmpty().Average());

    private static (double Error, int At) LargestError<T>(T[] actual, double[] reference) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        (double Error, int At) worst = (0, 0);
        for (int i = 0; i < reference.Length; i++)
        {
            double value = double.CreateChecked(actual[i]);
            double error = value.Equals(reference[i]) ? 0 : Math.Abs(value - reference[i]); // equal infinities
            if (!(error <= worst.Error))
                worst = (error, i);
            if (double.IsNaN(error))
                break;
        }
        return worst;
    }

    private static double LargestRounding(double[] reference)
    {
        double largest = 0;
        foreach (double value in reference)
            if (double.IsFinite(value))
                largest = Math.Max(largest, Math.Abs((float)value + 0.3f - 0.3f - value));
        return largest;
    }
}
