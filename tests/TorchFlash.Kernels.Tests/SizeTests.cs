using System.Numerics;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests;

public class SizeTestsFloat32 : SizeTests<float>;

public class SizeTestsFloat64 : SizeTests<double>;

/// <summary>Both passes against the reference over sequence lengths, head dimensions, batch and heads, masks and scales.</summary>
public abstract class SizeTests<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private static readonly CausalMask[] Masks = Enum.GetValues<CausalMask>();

    public static TheoryData<int> SmallSizes => [.. Enumerable.Range(1, 70)];

    public static TheoryData<int, int> OddSizes => new()
    {
        { 97, 113 }, { 113, 97 }, { 203, 257 }, { 257, 203 }, { 203, 203 }, { 257, 1 }, { 1, 257 }, { 1023, 113 }, { 97, 1025 },
    };

    public static TheoryData<int> HeadDims => [1, 8, 32, 40, 59, 64, 80, 96, 111, 128, 160, 192, 256];

    /// <summary>n against n, against a length that makes the mask's corner fall anywhere, and against a few whole tiles, both ways.</summary>
    [Theory]
    [MemberData(nameof(SmallSizes))]
    public void EverySmallLength(int n)
    {
        int d = 1 + n * 7 % 24;
        foreach ((int nq, int nk) in new[] { (n, n), (n, 71 - n), (n, 33), (70, n) })
            foreach (CausalMask mask in Masks)
                Check(Problem(nq, nk, d, mask));
    }

    [Theory]
    [MemberData(nameof(OddSizes))]
    public void OddLengths(int nq, int nk)
    {
        foreach (CausalMask mask in Masks)
            Check(Problem(nq, nk, 40, mask));
    }

    [Theory]
    [InlineData(1023, 1025, CausalMask.BottomRight)]
    [InlineData(1025, 1023, CausalMask.TopLeft)]
    [InlineData(1025, 1025, CausalMask.None)]
    [Trait("Size", "Large")]
    public void LengthsOfManyTiles(int nq, int nk, CausalMask mask) => Check(Problem(nq, nk, 64, mask));

    [Theory]
    [MemberData(nameof(HeadDims))]
    public void EveryHeadDim(int d)
    {
        foreach (CausalMask mask in Masks)
            Check(Problem(70, 83, d, mask));
        Check(Problem(37, 41, d, CausalMask.None) with { ValueDim = 1 });
        Check(Problem(37, 41, d, CausalMask.TopLeft) with { ValueDim = 72 });
        Check(Problem(41, 37, 24, CausalMask.BottomRight) with { ValueDim = d });
    }

    [Theory]
    [InlineData(1, 5)]
    [InlineData(3, 1)]
    [InlineData(2, 3)]
    public void BatchAndHeads(int batch, int heads)
    {
        foreach (CausalMask mask in Masks)
            Check(Problem(29, 45, 16, mask) with { Batch = batch, Heads = heads });
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-0.3)]
    [InlineData(1)]
    [InlineData(20)]
    [InlineData(-1e3)]
    public void Scales(double scale)
    {
        foreach (CausalMask mask in Masks)
            Check(Problem(50, 61, 12, mask) with { Scale = scale });
    }

    private static AttentionProblem Problem(int nq, int nk, int d, CausalMask mask) => new()
    {
        Batch = 1,
        Heads = 1,
        QueryLength = nq,
        KeyLength = nk,
        HeadDim = d,
        ValueDim = d,
        Scale = AttentionProblem.DefaultScale(d),
        Causal = mask,
    };

    private static void Check(AttentionProblem problem)
    {
        using var attention = new AttentionCase<T>(problem);
        Accuracy.AssertRunMatchesReference(attention);
    }
}
