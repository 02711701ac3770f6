using TorchFlash.Attention;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>What is read where it lies, and how results are laid out.</summary>
public class LayoutTests
{
    [Fact]
    public void ViewsWithUnitLastStrideAreReadWhereTheyLie()
    {
        Tensor packed = TestData.Normal(1, [2, 7, 3 * 4 * 8]);
        Tensor third = packed.chunk(3, -1)[1].view(2, 7, 4, 8).transpose(1, 2);
        Tensor expanded = TestData.Normal(1, [1, 4, 7, 8]).expand(3, 4, 7, 8);
        foreach (Tensor view in new[] { third, third.transpose(0, 1), third.narrow(2, 2, 3), expanded })
        {
            Assert.Same(view, TensorMemory.Readable(view));
            Assert.NotEqual(0, TensorMemory.Data(view));
        }
        Assert.Equal(TensorMemory.Data(packed) + 4 * 8 * sizeof(double), TensorMemory.Data(third));
    }

    [Fact]
    public void OtherStridesAreCopied()
    {
        Tensor transposed = TestData.Normal(1, [1, 2, 8, 7]).transpose(2, 3);
        Assert.True(TensorMemory.Readable(transposed).is_contiguous());
    }

    [Fact]
    public void OutputLiesInTheMemoryOrderOfQuery()
    {
        (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(2, 3, 5, 6, 4, 7, requiresGrad: false);
        Assert.True(flash.nn.functional.scaled_dot_product_attention(q, k, v).is_contiguous());

        Tensor batchRowsHeads = q.transpose(1, 2).contiguous().transpose(1, 2);
        Tensor o = flash.nn.functional.scaled_dot_product_attention(batchRowsHeads, k, v);
        Assert.True(o.transpose(1, 2).is_contiguous());
        Assert.Equal(TensorMemory.Data(o), TensorMemory.Data(o.transpose(1, 2).reshape(2, 5, 21)));

        Tensor rowsBatchHeads = q.permute(2, 0, 1, 3).contiguous().permute(1, 2, 0, 3);
        o = flash.nn.functional.scaled_dot_product_attention(rowsBatchHeads, k, v);
        Assert.True(o.permute(2, 0, 1, 3).is_contiguous());
    }

    [Fact]
    public void AThirdOfAPackedProjectionGivesADenseOutputInTheSameOrder()
    {
        Tensor packed = TestData.Normal(1, [2, 5, 3 * 12], requiresGrad: true);
        Tensor[] qkv = [.. packed.chunk(3, -1).Select(x => x.view(2, 5, 3, 4).transpose(1, 2))];
        Tensor o = flash.nn.functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal: true);
        Assert.True(o.transpose(1, 2).is_contiguous());
    }

    [Fact]
    public void StridesDoNotChangeTheResult()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(2, 3, 33, 40, 16, 8);
        Tensor expected = flash.nn.functional.scaled_dot_product_attention(q, k, v);
        Tensor[] expectedGradients = TestData.Gradients(expected, c, q, k, v);
        Tensor actual = flash.nn.functional.scaled_dot_product_attention(
            q.transpose(1, 2).contiguous().transpose(1, 2), k.permute(2, 0, 1, 3).contiguous().permute(1, 2, 0, 3), v.transpose(2, 3).contiguous().transpose(2, 3));
        TestData.Identical(expected, actual);
        Tensor[] gradients = TestData.Gradients(actual, c, q, k, v);
        for (int i = 0; i < 3; i++)
            TestData.Identical(expectedGradients[i], gradients[i], $"gradient {i}");
    }

    [Fact]
    public void OutputMayBeChangedInPlaceWhenNothingNeedsItsOldValue()
    {
        (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(1, 2, 5, 5, 4, 4, requiresGrad: false);
        Tensor o = flash.nn.functional.scaled_dot_product_attention(q.transpose(1, 2).contiguous().transpose(1, 2), k, v);
        Tensor expected = o + 1;
        TestData.Identical(expected, o.add_(1));
    }
}
