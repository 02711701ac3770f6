using System.Numerics;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests;

public class AverageWeightsTestsFloat32 : AverageWeightsTests<float>;

public class AverageWeightsTestsFloat64 : AverageWeightsTests<double>;

/// <summary>The weights P averaged over heads.</summary>
public abstract class AverageWeightsTests<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(1, 7, 1)]
    [InlineData(5, 64, 3)]
    [InlineData(64, 65, 12)]
    [InlineData(97, 33, 4)]
    [InlineData(33, 203, 2)]
    [InlineData(257, 113, 2)]
    public void MatchTheReference(int nq, int nk, int heads)
    {
        foreach (CausalMask mask in Enum.GetValues<CausalMask>())
        {
            var problem = new AttentionProblem
            {
                Batch = 2,
                Heads = heads,
                QueryLength = nq,
                KeyLength = nk,
                HeadDim = 20,
                ValueDim = 4,
                Scale = AttentionProblem.DefaultScale(20),
                Causal = mask,
            };
            using var attention = new AttentionCase<T>(problem);
            attention.RunWeights();
            attention.AssertMemoryIntact();
            Reference<double> reference = attention.Reference<double>();
            double rounding = Math.ScaleB(8, typeof(T) == typeof(float) ? -24 : -53);
            Accuracy.AssertClose($"weights of {attention}", attention.Weights.ToArray(), reference.AverageWeights, attention.Reference<T>().AverageWeights, rounding);

            double[] weights = attention.Weights.ToArray<double>();
            for (int row = 0; row < 2 * nq; row++)
            {
                int keys = Reference<T>.VisibleKeys(problem, row % nq);
                ReadOnlySpan<double> p = weights.AsSpan(row * nk, nk);
                Assert.All(p[keys..].ToArray(), w => Assert.Equal(0, w));
                Assert.Equal(keys > 0 ? 1 : 0, Sum(p), 1e-5);
            }
        }
    }

    private static double Sum(ReadOnlySpan<double> values)
    {
        double sum = 0;
        foreach (double value in values)
            sum += value;
        return sum;
    }
}
