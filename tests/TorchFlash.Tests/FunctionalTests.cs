using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>flash.nn.functional.scaled_dot_product_attention: values and gradients against libtorch.</summary>
public class FunctionalTests
{
    public static TheoryData<long, long, long, long, long, long> Sizes => new()
    {
        { 1, 1, 1, 1, 1, 1 },
        { 2, 3, 17, 17, 8, 8 },
        { 1, 2, 97, 113, 40, 59 },
        { 2, 1, 113, 97, 64, 32 },
        { 1, 2, 203, 203, 128, 128 },
        { 1, 1, 257, 130, 96, 80 },
    };

    [Theory]
    [MemberData(nameof(Sizes))]
    public void ValuesAndGradientsAreThoseOfTheFormula(long b, long h, long nq, long nk, long d, long dv)
    {
        foreach ((ScalarType dtype, double tolerance) in new[] { (ScalarType.Float64, 1e-12), (ScalarType.Float32, 2e-5) })
        {
            foreach ((bool causal, CausalAlignment alignment) in new[] { (false, CausalAlignment.TopLeft), (true, CausalAlignment.TopLeft), (true, CausalAlignment.BottomRight) })
            {
                if (causal && alignment == CausalAlignment.BottomRight && nq > nk)
                    continue; // Rows without keys: see MaskTests.
                using DisposeScope scope = NewDisposeScope();
                (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(b, h, nq, nk, d, dv, dtype);
                Tensor? allowed = causal ? Reference.Causal(nq, nk, alignment == CausalAlignment.BottomRight ? nk - nq : 0) : null;
                Tensor expected = Reference.Attention(q, k, v, allowed: allowed);
                Tensor[] expectedGradients = TestData.Gradients(expected, c, q, k, v);

                Tensor actual = flash.nn.functional.scaled_dot_product_attention(q, k, v, is_causal: causal, causal_alignment: alignment);
                Tensor[] gradients = TestData.Gradients(actual, c, q, k, v);

                TestData.Close(expected, actual, tolerance, "O");
                Assert.Equal(dtype, actual.dtype);
                for (int i = 0; i < 3; i++)
                    TestData.Close(expectedGradients[i], gradients[i], 10 * tolerance, $"gradient {i}, causal {causal}");
            }
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AgreesWithLibtorchsOwn(bool causal)
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(2, 3, 65, 65, 32, 32, ScalarType.Float32);
        Tensor expected = nn.functional.scaled_dot_product_attention(q, k, v, null, 0.0, causal);
        Tensor[] expectedGradients = TestData.Gradients(expected, c, q, k, v);
        Tensor actual = flash.nn.functional.scaled_dot_product_attention(q, k, v, null, 0.0, causal);
        Tensor[] gradients = TestData.Gradients(actual, c, q, k, v);
        TestData.Close(expected, actual, 1e-5);
        for (int i = 0; i < 3; i++)
            TestData.Close(expectedGradients[i], gradients[i], 1e-4, $"gradient {i}");
    }

    [Theory]
    [InlineData(0.5)]
    [InlineData(0.0)]
    [InlineData(-0.3)]
    public void ScaleReplacesTheDefault(double scale)
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(1, 2, 9, 11, 8, 8);
        Tensor expected = Reference.Attention(q, k, v, scale);
        Tensor[] expectedGradients = TestData.Gradients(expected, c, q, k, v);
        Tensor actual = flash.nn.functional.scaled_dot_product_attention(q, k, v, scale: scale);
        TestData.Close(expected, actual, 1e-12);
        Tensor[] gradients = TestData.Gradients(actual, c, q, k, v);
        for (int i = 0; i < 3; i++)
            TestData.Close(expectedGradients[i], gradients[i], 1e-11);
    }

    public static TheoryData<long[], long[], long[], long[]> Leading => new()
    {
        { [], [], [], [] },
        { [3], [3], [3], [3] },
        { [2, 3], [2, 3], [2, 3], [2, 3] },
        { [2, 1], [2, 3], [2, 3], [2, 3] },
        { [2, 3], [1, 3], [2, 1], [2, 3] },
        { [3], [2, 3], [2, 3], [2, 3] },
        { [2, 3], [], [3], [2, 3] },
        { [2, 2, 3], [2, 2, 3], [2, 2, 3], [2, 2, 3] },
        { [2, 1, 3], [2, 2, 1], [1, 1, 1], [2, 2, 3] },
        { [0, 3], [1, 3], [0, 1], [0, 3] },
    };

    [Theory]
    [MemberData(nameof(Leading))]
    public void LeadingDimensionsBroadcast(long[] lq, long[] lk, long[] lv, long[] expectedLeading)
    {
        Tensor q = TestData.Normal(1, [.. lq, 5, 4], requiresGrad: true);
        Tensor k = TestData.Normal(2, [.. lk, 7, 4], requiresGrad: true);
        Tensor v = TestData.Normal(3, [.. lv, 7, 6], requiresGrad: true);
        Tensor c = TestData.Normal(4, [.. expectedLeading, 5, 6]);
        Tensor expected = Reference.Attention(q, k, v);
        Tensor[] expectedGradients = TestData.Gradients(expected, c, q, k, v);
        Tensor actual = flash.nn.functional.scaled_dot_product_attention(q, k, v);
        Assert.Equal((long[])[.. expectedLeading, 5, 6], actual.shape);
        TestData.Close(expected, actual, 1e-12);
        Tensor[] gradients = TestData.Gradients(actual, c, q, k, v);
        for (int i = 0; i < 3; i++)
            TestData.Close(expectedGradients[i], gradients[i], 1e-11, $"gradient {i}");
    }

    [Theory]
    [InlineData(0, 3, 4, 5)]
    [InlineData(2, 0, 4, 5)]
    [InlineData(2, 3, 0, 5)]
    [InlineData(2, 3, 4, 0)]
    [InlineData(0, 0, 0, 0)]
    public void EmptySizesWork(long b, long h, long nq, long nk)
    {
        foreach (bool causal in new[] { false, true })
        {
            (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(b, h, nq, nk, 8, 6);
            Tensor o = flash.nn.functional.scaled_dot_product_attention(q, k, v, is_causal: causal);
            Assert.Equal([b, h, nq, 6], o.shape);
            TestData.Close(zeros_like(c), o, 0); // Either no element, or no key.
            Tensor[] gradients = TestData.Gradients(o, c, q, k, v);
            TestData.Close(zeros_like(q), gradients[0], 0);
            TestData.Close(zeros_like(k), gradients[1], 0);
            TestData.Close(zeros_like(v), gradients[2], 0);
        }
    }

    [Theory]
    [InlineData(double.NaN)]
    [InlineData(double.PositiveInfinity)]
    public void NanAndInfinityReachTheRowsTheyTouchAndNoOthers(double bad)
    {
        (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(1, 1, 70, 70, 8, 8, requiresGrad: false);
        Tensor clean = flash.nn.functional.scaled_dot_product_attention(q, k, v, is_causal: true);
        q.narrow(2, 33, 1).fill_(bad);
        Tensor o = flash.nn.functional.scaled_dot_product_attention(q, k, v, is_causal: true);
        Assert.True(o.select(2, 33).isnan().all().item<bool>());
        TestData.Close(clean.narrow(2, 0, 33), o.narrow(2, 0, 33), 0);
        TestData.Close(clean.narrow(2, 34, 36), o.narrow(2, 34, 36), 0);
    }
}
