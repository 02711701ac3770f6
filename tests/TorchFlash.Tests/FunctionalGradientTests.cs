using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>gradcheck through the fused path, and through the composed one.</summary>
public class FunctionalGradientTests
{
    [Theory]
    [InlineData(2, 2, 5, 5, 4, 4, false, CausalAlignment.TopLeft)]
    [InlineData(1, 2, 7, 5, 3, 5, false, CausalAlignment.TopLeft)]
    [InlineData(1, 2, 6, 6, 4, 4, true, CausalAlignment.TopLeft)]
    [InlineData(1, 1, 4, 9, 5, 2, true, CausalAlignment.TopLeft)]
    [InlineData(1, 1, 4, 9, 5, 2, true, CausalAlignment.BottomRight)]
    [InlineData(1, 1, 9, 4, 2, 5, true, CausalAlignment.TopLeft)]
    [InlineData(1, 1, 9, 4, 2, 5, true, CausalAlignment.BottomRight)]
    [InlineData(1, 1, 33, 20, 1, 1, true, CausalAlignment.BottomRight)]
    public void FusedPath(long b, long h, long nq, long nk, long d, long dv, bool causal, CausalAlignment alignment)
    {
        (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(b, h, nq, nk, d, dv);
        Gradcheck.Check(
            () => flash.nn.functional.scaled_dot_product_attention(q, k, v, is_causal: causal, causal_alignment: alignment, scale: 0.7), [q, k, v]);
    }

    [Fact]
    public void ViewsOfOnePackedProjection()
    {
        Tensor packed = TestData.Normal(1, [2, 5, 3 * 2 * 3], requiresGrad: true);
        Gradcheck.Check(
            () =>
            {
                Tensor[] qkv = [.. packed.chunk(3, -1).Select(x => x.view(2, 5, 2, 3).transpose(1, 2))];
                return flash.nn.functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal: true);
            },
            [packed]);
    }

    [Fact]
    public void StridesThatNeedACopy()
    {
        Tensor q = TestData.Normal(1, [1, 2, 4, 5], requiresGrad: true); // d before N
        Tensor k = TestData.Normal(2, [1, 2, 4, 6], requiresGrad: true);
        Tensor v = TestData.Normal(3, [1, 2, 3, 6], requiresGrad: true);
        Gradcheck.Check(
            () => flash.nn.functional.scaled_dot_product_attention(q.transpose(2, 3), k.transpose(2, 3), v.transpose(2, 3)), [q, k, v]);
    }

    [Fact]
    public void BroadcastOperands()
    {
        Tensor q = TestData.Normal(1, [2, 1, 4, 3], requiresGrad: true);
        Tensor k = TestData.Normal(2, [2, 5, 3], requiresGrad: true);
        Tensor v = TestData.Normal(3, [1, 1, 5, 2], requiresGrad: true);
        Gradcheck.Check(() => flash.nn.functional.scaled_dot_product_attention(q, k, v), [q, k, v]);
    }

    [Fact]
    public void OneOperandAlone()
    {
        (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(1, 2, 5, 6, 3, 4, requiresGrad: false);
        foreach (Tensor leaf in new[] { q, k, v })
        {
            leaf.requires_grad_(true);
            Gradcheck.Check(() => flash.nn.functional.scaled_dot_product_attention(q, k, v), [leaf]);
            leaf.requires_grad_(false);
        }
    }

    [Fact]
    public void SelfAttentionOfOneTensor()
    {
        Tensor x = TestData.Normal(1, [1, 2, 5, 3], requiresGrad: true);
        Gradcheck.Check(() => flash.nn.functional.scaled_dot_product_attention(x, x, x, is_causal: true), [x]);
    }

    [Theory]
    [InlineData(new long[] { 2, 2, 4, 5 })]
    [InlineData(new long[] { 1, 2, 1, 5 })]
    [InlineData(new long[] { 2, 1, 4, 1 })]
    [InlineData(new long[] { 4, 5 })]
    [InlineData(new long[] { 5 })]
    [InlineData(new long[] { })]
    public void AdditiveMaskGetsAGradientAlsoWhenBroadcast(long[] shape)
    {
        (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(2, 2, 4, 5, 3, 3);
        Tensor mask = TestData.Normal(5, shape, requiresGrad: true);
        Gradcheck.Check(() => flash.nn.functional.scaled_dot_product_attention(q, k, v, mask), [q, k, v, mask]);
    }

    [Fact]
    public void BoolMaskTogetherWithCausal()
    {
        (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(2, 1, 5, 5, 3, 3);
        Tensor mask = TestData.Normal(5, [2, 1, 1, 5]).gt(-0.3); // Leaves some rows without keys.
        Gradcheck.Check(() => flash.nn.functional.scaled_dot_product_attention(q, k, v, mask, is_causal: true), [q, k, v]);
    }
}
