using System.Numerics;
using TorchFlash.Kernels.Cpu;
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
            Reference<double> reference = attention.Reference<double>();
            Reference<T> naive = attention.Reference<T>();
            double rounding = Math.ScaleB(8, typeof(T) == typeof(float) ? -24 : -53);
            foreach (CpuEngine engine in Engines.Widths)
            {
                attention.PoisonOutputs();
                attention.RunWeights(engine: engine);
                attention.AssertMemoryIntact();
                Accuracy.AssertClose($"weights of {attention} {engine.VectorBits} bit", attention.Weights.ToArray(), reference.AverageWeights, naive.AverageWeights, rounding);
                AssertRowsAreDistributions(attention.Weights.ToArray<double>(), problem);
            }
        }
    }

    /// <summary>A row sums to 1, or to 0 where it sees no key; keys that it does not see have exactly no weight.</summary>
    private static void AssertRowsAreDistributions(double[] weights, AttentionProblem problem)
    {
        for (int row = 0; row < problem.Batch * problem.QueryLength; row++)
        {
            int keys = Reference<T>.VisibleKeys(problem, row % problem.QueryLength);
            double[] p = weights[(row * problem.KeyLength)..((row + 1) * problem.KeyLength)];
            Assert.All(p[keys..], w => Assert.Equal(0, w));
            Assert.Equal(keys > 0 ? 1 : 0, p.Sum(), 1e-5);
        }
    }
}
