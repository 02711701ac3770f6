using System.Numerics;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests;

public class GroupedHeadsTestsFloat32 : GroupedHeadsTests<float>;

public class GroupedHeadsTestsFloat64 : GroupedHeadsTests<double>;

/// <summary>Key and value with fewer heads than the query: query head h attends to head h / (heads / key heads).</summary>
public abstract class GroupedHeadsTests<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    [Theory]
    [InlineData(2, 1, 33, 65)]
    [InlineData(6, 2, 97, 113)]
    [InlineData(4, 1, 257, 203)]
    [InlineData(3, 3, 64, 64)]
    [InlineData(8, 4, 1, 70)]
    [InlineData(4, 2, 130, 3)]
    public void MatchTheReference(int heads, int keyHeads, int nq, int nk)
    {
        foreach (CausalMask mask in Enum.GetValues<CausalMask>())
            foreach (Layout outputs in Layouts.Writable)
            {
                using var attention = new AttentionCase<T>(Problem(heads, keyHeads, nq, nk, mask), outputs: outputs);
                Accuracy.AssertRunMatchesReference(attention);
            }
    }

    /// <summary>Bit for bit the forward pass and dQ of key and value repeated for every query head.</summary>
    [Theory]
    [InlineData(CausalMask.None)]
    [InlineData(CausalMask.TopLeft)]
    [InlineData(CausalMask.BottomRight)]
    public void EqualsRepeatedHeads(CausalMask mask)
    {
        AttentionProblem problem = Problem(6, 2, 150, 230, mask);
        using var grouped = new AttentionCase<T>(problem);
        using var repeated = new AttentionCase<T>(problem with { KeyHeads = 0 });
        repeated.Query.Fill((b, h, n, x) => double.CreateChecked(grouped.Query[b, h, n, x]));
        repeated.OutputGradient.Fill((b, h, n, x) => double.CreateChecked(grouped.OutputGradient[b, h, n, x]));
        repeated.Key.Fill((b, h, n, x) => double.CreateChecked(grouped.Key[b, h / 3, n, x]));
        repeated.Value.Fill((b, h, n, x) => double.CreateChecked(grouped.Value[b, h / 3, n, x]));
        grouped.Run();
        repeated.Run();
        foreach (string name in new[] { "O", "m", "l", "dQ" })
            Accuracy.AssertBitwiseEqual(name, repeated.Results()[name], grouped.Results()[name]);
        grouped.RunWeights();
        repeated.RunWeights();
        Accuracy.AssertBitwiseEqual("weights", repeated.Weights.ToArray(), grouped.Weights.ToArray());
    }

    /// <summary>Without keys, without queries, and where no query sees a key.</summary>
    [Theory]
    [InlineData(5, 0, CausalMask.None)]
    [InlineData(0, 5, CausalMask.None)]
    [InlineData(0, 5, CausalMask.TopLeft)]
    [InlineData(70, 3, CausalMask.BottomRight)]
    public void EmptyRowsAndKeys(int nq, int nk, CausalMask mask)
    {
        using var attention = new AttentionCase<T>(Problem(4, 2, nq, nk, mask));
        Accuracy.AssertRunMatchesReference(attention);
    }

    private static AttentionProblem Problem(int heads, int keyHeads, int nq, int nk, CausalMask mask) => new()
    {
        Batch = 2,
        Heads = heads,
        KeyHeads = keyHeads,
        QueryLength = nq,
        KeyLength = nk,
        HeadDim = 20,
        ValueDim = 12,
        Scale = AttentionProblem.DefaultScale(20),
        Causal = mask,
    };
}
