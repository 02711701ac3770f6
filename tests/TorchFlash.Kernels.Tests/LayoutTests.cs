using System.Numerics;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests;

public class LayoutTestsFloat32 : LayoutTests<float>;

public class LayoutTestsFloat64 : LayoutTests<double>;

/// <summary>Strides of every kind: right results, nothing but the elements of the outputs written.</summary>
public abstract class LayoutTests<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public static TheoryData<Layout, Layout> LayoutPairs
    {
        get
        {
            var data = new TheoryData<Layout, Layout>();
            foreach (Layout inputs in Enum.GetValues<Layout>())
                foreach (Layout outputs in Layouts.Writable)
                    data.Add(inputs, outputs);
            return data;
        }
    }

    public static TheoryData<Layout> OutputLayouts => [.. Layouts.Writable];

    private static AttentionProblem Problem(CausalMask mask) => new()
    {
        Batch = 2,
        Heads = 3,
        QueryLength = 37,
        KeyLength = 53,
        HeadDim = 19,
        ValueDim = 21,
        Scale = AttentionProblem.DefaultScale(19),
        Causal = mask,
    };

    [Theory]
    [MemberData(nameof(LayoutPairs))]
    public void AnyStrides(Layout inputs, Layout outputs)
    {
        foreach (CausalMask mask in Enum.GetValues<CausalMask>())
        {
            using var attention = new AttentionCase<T>(Problem(mask), inputs, outputs);
            Accuracy.AssertRunMatchesReference(attention);
        }
    }

    /// <summary>The arithmetic does not depend on where the numbers lie.</summary>
    [Theory]
    [MemberData(nameof(OutputLayouts))]
    public void LayoutDoesNotChangeAResult(Layout layout)
    {
        using var dense = new AttentionCase<T>(Problem(CausalMask.TopLeft));
        using var strided = new AttentionCase<T>(Problem(CausalMask.TopLeft), layout, layout);
        Dictionary<string, T[]> expected = dense.Run().Results(), actual = strided.Run().Results();
        foreach (string name in expected.Keys)
            Accuracy.AssertBitwiseEqual(name, expected[name], actual[name]);
    }

    [Theory]
    [MemberData(nameof(OutputLayouts))]
    public void WeightsInAnyLayout(Layout layout)
    {
        using var attention = new AttentionCase<T>(Problem(CausalMask.None), layout, layout);
        attention.RunWeights();
        attention.AssertMemoryIntact();
        Accuracy.AssertClose("weights", attention.Weights.ToArray(), attention.Reference<double>().AverageWeights, attention.Reference<T>().AverageWeights);
    }
}
