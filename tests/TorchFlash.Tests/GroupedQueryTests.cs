using TorchFlash.Attention;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>enable_gqa: fewer heads of key and value than of query, on every route.</summary>
public class GroupedQueryTests
{
    /// <summary>PyTorch's definition: every head of key and value repeated for its group.</summary>
    private static Tensor Repeated(Tensor x, long heads) => x.repeat_interleave(heads / x.shape[^3], -3);

    private static (Tensor Q, Tensor K, Tensor V, Tensor Cotangent) Operands(
        long batch, long heads, long keyHeads, long nq, long nk, ScalarType dtype = ScalarType.Float64) => (
        TestData.Normal(1, [batch, heads, nq, 8], dtype, true),
        TestData.Normal(2, [batch, keyHeads, nk, 8], dtype, true),
        TestData.Normal(3, [batch, keyHeads, nk, 6], dtype, true),
        TestData.Normal(4, [batch, heads, nq, 6], dtype));

    [Theory]
    [InlineData(2, 6, 2, 17, 17, true)]
    [InlineData(1, 4, 1, 5, 70, false)]
    [InlineData(2, 3, 3, 33, 20, false)]
    [InlineData(1, 8, 4, 100, 100, true)]
    [InlineData(2, 6, 2, 0, 5, false)]
    [InlineData(2, 6, 2, 5, 0, false)]
    [InlineData(2, 0, 0, 5, 5, false)]
    public void ValuesAndGradientsAreThoseOfRepeatedHeads(long batch, long heads, long keyHeads, long nq, long nk, bool causal)
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = Operands(batch, heads, keyHeads, nq, nk);
        Tensor o = flash.nn.functional.scaled_dot_product_attention(q, k, v, is_causal: causal, enable_gqa: true);
        Tensor[] gradients = TestData.Gradients(o, c, q, k, v);
        Assert.Equal(v.shape, gradients[2].shape);
        if (heads == 0 || nk == 0)
        {
            TestData.Close(zeros_like(c), o, 0);
            return;
        }

        Tensor expected = Reference.Attention(q, Repeated(k, heads), Repeated(v, heads), allowed: causal ? Reference.Causal(nq, nk) : null);
        Tensor[] expectedGradients = TestData.Gradients(expected, c, q, k, v);
        TestData.Close(expected, o, 1e-12, "O");
        for (int i = 0; i < 3; i++)
            TestData.Close(expectedGradients[i], gradients[i], 1e-11, $"gradient {i}");
    }

    [Fact]
    public void MasksAndHalfPrecisionGroupHeadsToo()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = Operands(2, 6, 2, 9, 11);
        Tensor mask = TestData.Normal(5, [2, 6, 9, 11]);
        Tensor expected = Reference.Attention(q, Repeated(k, 6), Repeated(v, 6), bias: mask);
        Tensor[] expectedGradients = TestData.Gradients(expected, c, q, k, v);
        Tensor o = flash.nn.functional.scaled_dot_product_attention(q, k, v, mask, enable_gqa: true);
        TestData.Close(expected, o, 1e-12, "O");
        Tensor[] gradients = TestData.Gradients(o, c, q, k, v);
        for (int i = 0; i < 3; i++)
            TestData.Close(expectedGradients[i], gradients[i], 1e-11, $"gradient {i}");

        Tensor half = flash.nn.functional.scaled_dot_product_attention(
            q.to(ScalarType.BFloat16), k.to(ScalarType.BFloat16), v.to(ScalarType.BFloat16), enable_gqa: true);
        TestData.Close(Reference.Attention(q, Repeated(k, 6), Repeated(v, 6)), half, 0.05);
    }

    [Fact]
    public void BatchDimensionsBroadcastAndHeadsDoNot()
    {
        Tensor q = TestData.Normal(1, [3, 1, 4, 5, 8]), k = TestData.Normal(2, [2, 2, 7, 8]), v = TestData.Normal(3, [1, 1, 2, 7, 6]);
        Tensor o = flash.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa: true);
        Assert.Equal([3, 2, 4, 5, 6], o.shape);
        TestData.Close(Reference.Attention(q, Repeated(k, 4), Repeated(v, 4)), o, 1e-12);
        Tensor three = flash.nn.functional.scaled_dot_product_attention(q.select(0, 0).select(0, 0), k.select(0, 1), v.select(0, 0).select(0, 0), enable_gqa: true);
        TestData.Close(o.select(0, 0).select(0, 1), three, 0);
    }

    [Fact]
    public void TheFusedPathReadsTheFewHeadsWhereTheyLie()
    {
        Tensor q = zeros(1, 4, 5, 8), k = zeros(1, 2, 5, 8);
        Assert.Equal(2, new AttentionCall(q, k, k).Problem.KeyHeads);
    }

    [Theory]
    [InlineData(4, 3, 3, true, "key", "divides")]
    [InlineData(2, 4, 4, true, "key", "divides")]
    [InlineData(4, 2, 4, true, "value", "as many heads as key")]
    [InlineData(4, 2, 1, true, "value", "as many heads as key")]
    [InlineData(4, 2, 2, false, "key", "enable_gqa")]
    public void HeadsThatDoNotFitAreRefused(long heads, long keyHeads, long valueHeads, bool enable, string name, string part)
    {
        Tensor q = zeros(1, heads, 5, 8), k = zeros(1, keyHeads, 5, 8), v = zeros(1, valueHeads, 5, 8);
        ArgumentException e = Assert.Throws<ArgumentException>(() => flash.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa: enable));
        Assert.Equal(name, e.ParamName);
        Assert.Contains(part, e.Message);
    }

    [Fact]
    public void OperandsWithoutHeadsAreRefused()
    {
        Tensor x = zeros(5, 8);
        Assert.Contains("(..., H, N, d)", Assert.Throws<ArgumentException>(() => flash.nn.functional.scaled_dot_product_attention(x, x, x, enable_gqa: true)).Message);
    }
}
