using System.Numerics;
using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests;

public class ScoreRangeTestsFloat32 : ScoreRangeTests<float>;

public class ScoreRangeTestsFloat64 : ScoreRangeTests<double>;

/// <summary>Scores from one end of the number range to the other.</summary>
public abstract class ScoreRangeTests<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private const int Nq = 90, Nk = 210;

    private static readonly CausalMask[] Masks = Enum.GetValues<CausalMask>();

    /// <summary>S_ij = step j (scale 1, d = 1): with a positive step every key, so every tile, raises the maximum.</summary>
    [Theory]
    [InlineData(0.01)]
    [InlineData(1)]
    [InlineData(40)]
    [InlineData(1e4)]
    [InlineData(-0.01)]
    [InlineData(-1)]
    [InlineData(-40)]
    [InlineData(-1e4)]
    public void MonotonicScores(double step)
    {
        foreach (CausalMask mask in Masks)
        {
            using AttentionCase<T> attention = Case(mask);
            attention.Query.Fill((_, _, _, _) => 1);
            attention.Key.Fill((_, _, j, _) => step * j);
            Accuracy.AssertRunMatchesReference(attention);
        }
    }

    /// <summary>All scores far from 0, their differences moderate: only S - max S may enter the exponential.</summary>
    [Theory]
    [InlineData(1e4)]
    [InlineData(-1e4)]
    [InlineData(1e6)]
    [InlineData(-1e6)]
    public void ScoresWithAnOffset(double offset)
    {
        foreach (CausalMask mask in Masks)
        {
            using AttentionCase<T> attention = Case(mask);
            attention.Query.Fill((_, _, _, _) => 1);
            attention.Key.Fill((_, _, j, _) => offset + j * 29 % 64 * 0.0625);
            Accuracy.AssertRunMatchesReference(attention);
        }
    }

    /// <summary>One key of a row far above the others takes it all: O_i = V_j exactly, dQ = dK = 0.</summary>
    [Theory]
    [InlineData(1e4)]
    [InlineData(1e30)]
    public void OneHot(double height)
    {
        using AttentionCase<T> attention = Case(CausalMask.None);
        attention.Query.Fill((_, _, _, _) => 1);
        attention.Key.Fill((_, _, j, _) => j == 131 ? height : -height);
        attention.Run();
        for (int i = 0; i < Nq; i++)
            for (int x = 0; x < 3; x++)
                Assert.Equal(attention.Value[0, 0, 131, x], attention.Output[0, 0, i, x]);
        Assert.All(attention.Sum, l => Assert.Equal(T.One, l));
        Assert.All(attention.KeyGradient.ToArray<double>(), g => Assert.Equal(0, g, 1e-3));
    }

    /// <summary>
    /// A score that overflows: +inf makes its row NaN, -inf is a key that is not attended to; the other rows do not notice.
    /// </summary>
    [Theory]
    [InlineData(1, true)]
    [InlineData(-1, false)]
    public void OverflowingScores(int sign, bool isNaN)
    {
        double huge = typeof(T) == typeof(float) ? 1e30 : 1e200;
        foreach (CausalMask mask in Masks)
        {
            using AttentionCase<T> attention = Case(mask);
            attention.Query.Fill((_, _, i, _) => i == 70 ? huge : 1 / huge);
            attention.Key.Fill((_, _, j, _) => j == 60 ? sign * huge : 1);
            attention.Run();
            T[] expected = attention.Reference<T>().Output;
            for (int i = 0; i < Nq; i++)
                for (int x = 0; x < 3; x++)
                {
                    T actual = attention.Output[0, 0, i, x];
                    Assert.Equal(i == 70 && isNaN, T.IsNaN(actual));
                    if (!T.IsNaN(actual))
                        Assert.Equal(double.CreateChecked(expected[i * 3 + x]), double.CreateChecked(actual), 1e-5);
                }
        }
    }

    /// <summary>Every pass computes the same bits of Q Kᵀ, for a few queries as for many: weights sum to 1 where the last bit of a score is a large number.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(97)]
    public void WeightsOfLargeScoresSumToOneInEveryPass(int queries)
    {
        double large = typeof(T) == typeof(float) ? 400 : 3e7;
        foreach (CpuEngine engine in Engines.Widths)
        {
            var random = new Random(queries);
            using var attention = new AttentionCase<T>(new AttentionProblem { Batch = 1, Heads = 1, QueryLength = queries, KeyLength = 50, HeadDim = 37, ValueDim = 3, Scale = -1 });
            attention.Query.Fill((_, _, _, _) => large * (random.NextDouble() - 0.5));
            attention.Key.Fill((_, _, _, _) => large * (random.NextDouble() - 0.5));
            attention.OutputGradient.Fill((_, _, _, x) => x == 0 ? 1 : 0);
            attention.Run(2, engine).RunWeights(2, engine);
            Assert.Equal(queries, attention.ValueGradient.ToArray<double>().Sum(), 1e-4 * queries);
            Assert.Equal(queries, attention.Weights.ToArray<double>().Sum(), 1e-4 * queries);
        }
    }

    /// <summary>A row of nothing but -inf is one that attends to nothing: 0, without gradients, and the other rows do not notice.</summary>
    [Fact]
    public void RowOfNothingButNegativeInfinity()
    {
        double huge = typeof(T) == typeof(float) ? 1e30 : 1e200;
        foreach (CausalMask mask in Masks)
        {
            using AttentionCase<T> attention = Case(mask);
            attention.Query.Fill((_, _, i, _) => i == 70 ? -huge : 1 / huge);
            attention.Key.Fill((_, _, _, _) => huge);
            foreach (CpuEngine engine in Engines.Widths)
            {
                attention.PoisonOutputs();
                attention.Run(2, engine);
                for (int i = 0; i < Nq; i++)
                {
                    Assert.Equal(i == 70, T.IsNegativeInfinity(attention.Max[i]));
                    Assert.Equal(i == 70, attention.Sum[i] == T.Zero);
                    for (int x = 0; x < 3; x++)
                        Assert.Equal(i == 70, attention.Output[0, 0, i, x] == T.Zero);
                }
                Assert.Equal(T.Zero, attention.QueryGradient[0, 0, 70, 0]);
                T[] expected = attention.Reference<T>().ValueGradient, actual = attention.ValueGradient.ToArray();
                Assert.All(expected.Zip(actual), pair => Assert.Equal(double.CreateChecked(pair.First), double.CreateChecked(pair.Second), 1e-4));
            }
        }
    }

    /// <summary>A scale too small to move any weight, down to one whose factor is 0 in the element type: every key weighs the same.</summary>
    [Theory]
    [InlineData(1e-40)]
    [InlineData(-1e-40)]
    [InlineData(1e-46)]
    [InlineData(-1e-46)]
    [InlineData(1e-320)]
    [InlineData(double.Epsilon)]
    [InlineData(0)]
    public void TinyScale(double scale)
    {
        foreach (CausalMask mask in Masks)
        {
            using AttentionCase<T> shape = Case(mask);
            using var attention = new AttentionCase<T>(shape.Problem with { Scale = scale });
            Reference<double> reference = attention.Reference<double>();
            foreach (CpuEngine engine in Engines.Widths)
            {
                attention.PoisonOutputs();
                attention.Run(2, engine);
                Accuracy.AssertClose($"O, {mask}, {engine.VectorBits} bit", attention.Output.ToArray(), reference.Output, attention.Reference<T>().Output, 1e-7);
                Accuracy.AssertClose($"dV, {mask}, {engine.VectorBits} bit", attention.ValueGradient.ToArray(), reference.ValueGradient, attention.Reference<T>().ValueGradient, 1e-7);
                foreach (double g in attention.QueryGradient.ToArray<double>().Concat(attention.KeyGradient.ToArray<double>()))
                    Assert.InRange(Math.Abs(g), 0, 1e4 * Math.Abs(scale) + 1e-44);
            }
        }
    }

    /// <summary>Numbers below the normal range are numbers.</summary>
    [Fact]
    public void Subnormals()
    {
        double tiny = typeof(T) == typeof(float) ? 1e-40 : 1e-310;
        using AttentionCase<T> attention = Case(CausalMask.TopLeft);
        attention.Query.Fill((_, _, i, _) => tiny * i);
        attention.Key.Fill((_, _, j, _) => tiny * j);
        attention.Value.Fill((_, _, j, x) => tiny * (1 + j + x));
        attention.Run();
        // Equal scores: O_i is the mean of V_0 .. V_i.
        for (int i = 0; i < Nq; i++)
            for (int x = 0; x < 3; x++)
                Assert.Equal(1 + i / 2.0 + x, double.CreateChecked(attention.Output[0, 0, i, x]) / tiny, 0.01 * (1 + i));
        Assert.All(attention.QueryGradient.ToArray(), g => Assert.True(T.IsFinite(g)));
        Assert.All(attention.KeyGradient.ToArray(), g => Assert.True(T.IsFinite(g)));
    }

    private static AttentionCase<T> Case(CausalMask mask) => new(new AttentionProblem
    {
        Batch = 1,
        Heads = 1,
        QueryLength = Nq,
        KeyLength = Nk,
        HeadDim = 1,
        ValueDim = 3,
        Scale = 1,
        Causal = mask,
    });
}
