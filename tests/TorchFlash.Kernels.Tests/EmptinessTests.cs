using System.Numerics;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests;

public class EmptinessTestsFloat32 : EmptinessTests<float>;

public class EmptinessTestsFloat64 : EmptinessTests<double>;

/// <summary>Nothing to attend to, or nothing to attend.</summary>
public abstract class EmptinessTests<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private static readonly AttentionProblem Problem = new()
    {
        Batch = 2,
        Heads = 2,
        QueryLength = 40,
        KeyLength = 23,
        HeadDim = 9,
        ValueDim = 10,
        Scale = 0.3,
    };

    /// <summary>No batch entry, head, query or key; all operands may be null then.</summary>
    [Theory]
    [InlineData(0, 2, 5, 5)]
    [InlineData(2, 0, 5, 5)]
    [InlineData(2, 2, 0, 5)]
    [InlineData(2, 2, 5, 0)]
    [InlineData(2, 2, 0, 0)]
    public void EmptyExtents(int batch, int heads, int nq, int nk)
    {
        foreach (CausalMask mask in Enum.GetValues<CausalMask>())
        {
            using var attention = new AttentionCase<T>(
                Problem with { Batch = batch, Heads = heads, QueryLength = nq, KeyLength = nk, Causal = mask });
            attention.Run();
            attention.RunWeights();
            attention.AssertMemoryIntact();
            Assert.All(attention.Max, m => Assert.Equal(T.NegativeInfinity, m));
            foreach ((string name, T[] result) in attention.Results().Where(r => r.Key != "m"))
                Accuracy.AssertBitwiseEqual(name, new T[result.Length], result);
        }
    }

    /// <summary>Operands without elements may be null.</summary>
    [Fact]
    public void NullWhereThereIsNoElement()
    {
        AttentionProblem empty = Problem with { QueryLength = 0, KeyLength = 0 };
        using var attention = new AttentionCase<T>(empty);
        IAttentionEngine engine = Cpu.CpuEngine.Instance;
        engine.Forward(attention.Problem, default);
        engine.Backward(attention.Problem, default);
        engine.Weights(attention.Problem, default);

        using var keyless = new AttentionCase<T>(Problem with { KeyLength = 0 });
        engine.Forward(keyless.Problem, keyless.ForwardArguments with { Key = default, Value = default });
        Assert.All(keyless.Output.ToArray(), o => Assert.Equal(T.Zero, o));
    }

    /// <summary>Bottom-right with more queries than keys: the first Nq - Nk rows see no key.</summary>
    [Theory]
    [InlineData(40, 23)]
    [InlineData(40, 1)]
    [InlineData(300, 7)]
    [InlineData(300, 290)]
    public void RowsWithoutKeys(int nq, int nk)
    {
        using var attention = new AttentionCase<T>(Problem with { QueryLength = nq, KeyLength = nk, Causal = CausalMask.BottomRight });
        Accuracy.AssertRunMatchesReference(attention);
        T[] max = attention.Max, sum = attention.Sum;
        T[][] output = [.. attention.Output.ToArray().Chunk(10)], gradient = [.. attention.QueryGradient.ToArray().Chunk(9)];
        for (int row = 0; row < 4 * nq; row++)
            if (row % nq < nq - nk)
            {
                Assert.Equal(T.NegativeInfinity, max[row]);
                Assert.Equal(T.Zero, sum[row]);
                Assert.All(output[row].Concat(gradient[row]), x => Assert.Equal(T.Zero, x));
            }
    }

    /// <summary>Top-left with more keys than queries: nobody sees the last Nk - Nq keys, so their gradients are 0.</summary>
    [Fact]
    public void KeysWithoutQueries()
    {
        using var attention = new AttentionCase<T>(Problem with { QueryLength = 5, KeyLength = 70, Causal = CausalMask.TopLeft });
        Accuracy.AssertRunMatchesReference(attention);
        for (int head = 0; head < 4; head++)
        {
            Assert.All(attention.KeyGradient.ToArray().AsSpan((head * 70 + 5) * 9, 65 * 9).ToArray(), g => Assert.Equal(T.Zero, g));
            Assert.All(attention.ValueGradient.ToArray().AsSpan((head * 70 + 5) * 10, 65 * 10).ToArray(), g => Assert.Equal(T.Zero, g));
        }
    }
}
