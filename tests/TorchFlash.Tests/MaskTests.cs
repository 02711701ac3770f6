using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>Masks, rows with nothing to attend to, and dropout.</summary>
public class MaskTests
{
    [Theory]
    [InlineData(new long[] { 2, 3, 5, 7 })]
    [InlineData(new long[] { 2, 1, 1, 7 })]
    [InlineData(new long[] { 1, 3, 5, 1 })]
    [InlineData(new long[] { 5, 7 })]
    [InlineData(new long[] { 3, 5, 7 })]
    public void AdditiveAndBoolMasksAreThoseOfTheFormula(long[] shape)
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(2, 3, 5, 7, 4, 4);
        Tensor bias = TestData.Normal(5, shape);
        Check(Reference.Attention(q, k, v, bias: bias), flash.nn.functional.scaled_dot_product_attention(q, k, v, bias), c, q, k, v);
        Tensor allowed = bias.gt(-5); // Everything: no row is empty.
        allowed = shape[^1] == 1 ? allowed : allowed.logical_and(cat([ones([1L], ScalarType.Bool), bias.reshape(-1, shape[^1])[0].narrow(0, 1, shape[^1] - 1).gt(0)]));
        Check(Reference.Attention(q, k, v, allowed: allowed), flash.nn.functional.scaled_dot_product_attention(q, k, v, allowed), c, q, k, v);
    }

    [Fact]
    public void MasksOfFiveDimensionalOperands()
    {
        Tensor q = TestData.Normal(1, [2, 2, 3, 5, 4], requiresGrad: true), k = TestData.Normal(2, [2, 2, 3, 7, 4], requiresGrad: true), v = TestData.Normal(3, [2, 2, 3, 7, 4], requiresGrad: true);
        Tensor c = TestData.Normal(4, [2, 2, 3, 5, 4]);
        foreach (long[] shape in new long[][] { [2, 1, 3, 1, 7], [2, 3, 5, 7], [2, 1, 5, 7], [3, 1, 7] })
        {
            Tensor bias = TestData.Normal(5, shape);
            Check(Reference.Attention(q, k, v, bias: bias), flash.nn.functional.scaled_dot_product_attention(q, k, v, bias), c, q, k, v);
        }
    }

    [Fact]
    public void AMaskCombinesWithCausal()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(1, 2, 6, 8, 4, 4);
        Tensor bias = TestData.Normal(5, [6, 8]);
        Check(
            Reference.Attention(q, k, v, allowed: Reference.Causal(6, 8, 2), bias: bias),
            flash.nn.functional.scaled_dot_product_attention(q, k, v, bias, is_causal: true, causal_alignment: CausalAlignment.BottomRight),
            c, q, k, v);
    }

    [Fact]
    public void ARowWithNothingToAttendToGivesZeroAndNoGradient()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(1, 1, 3, 4, 2, 2);
        Tensor allowed = tensor(new[] { true, false, true, false, false, false, false, false, true, true, true, true }, [3L, 4L]);
        Tensor bias = zeros([3, 4], ScalarType.Float64).masked_fill(allowed.logical_not(), double.NegativeInfinity).requires_grad_(true);
        foreach (Tensor mask in new[] { allowed, bias })
        {
            Tensor o = flash.nn.functional.scaled_dot_product_attention(q, k, v, mask);
            TestData.Close(zeros_like(o.select(2, 1)), o.select(2, 1), 0);
            Tensor[] gradients = TestData.Gradients(o, c, q, k, v);
            TestData.Close(zeros_like(q.select(2, 1)), gradients[0].select(2, 1), 0);
            Assert.All(gradients, gradient => Assert.True(gradient.isfinite().all().item<bool>()));
        }
        Assert.True(bias.grad!.isfinite().all().item<bool>());
        TestData.Close(zeros([4L], ScalarType.Float64), bias.grad!.select(0, 1), 0);
    }

    [Fact]
    public void QueriesBeforeTheFirstKeyOfABottomRightDiagonalGiveZero()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(1, 2, 9, 5, 4, 4);
        Tensor o = flash.nn.functional.scaled_dot_product_attention(q, k, v, is_causal: true, causal_alignment: CausalAlignment.BottomRight);
        TestData.Close(zeros_like(o.narrow(2, 0, 4)), o.narrow(2, 0, 4), 0);
        TestData.Close(Reference.Attention(q.narrow(2, 4, 5), k, v, allowed: Reference.Causal(5, 5)), o.narrow(2, 4, 5), 1e-12);
        Tensor[] gradients = TestData.Gradients(o, c, q, k, v);
        TestData.Close(zeros_like(gradients[0].narrow(2, 0, 4)), gradients[0].narrow(2, 0, 4), 0);
        Assert.All(gradients, gradient => Assert.True(gradient.isfinite().all().item<bool>()));
    }

    [Fact]
    public void DropoutDropsAndRescales()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(2, 2, 50, 60, 4, 60);
        v = eye(60, dtype: ScalarType.Float64).expand(2, 2, 60, 60); // O is P.
        Tensor kept = flash.nn.functional.scaled_dot_product_attention(q, k, v);
        manual_seed(3);
        Tensor dropped = flash.nn.functional.scaled_dot_product_attention(q, k, v, p: 0.25);
        Tensor survives = dropped.ne(0);
        TestData.Close(kept * survives.to(ScalarType.Float64) / 0.75, dropped, 1e-12);
        double share = survives.to(ScalarType.Float64).mean().item<double>();
        Assert.InRange(share, 0.72, 0.78);
        manual_seed(3);
        TestData.Identical(dropped, flash.nn.functional.scaled_dot_product_attention(q, k, v, p: 0.25));
        TestData.Close(zeros_like(kept), flash.nn.functional.scaled_dot_product_attention(q, k, v, p: 1), 0);

        manual_seed(3);
        Tensor[] gradients = TestData.Gradients(flash.nn.functional.scaled_dot_product_attention(q, k, v, p: 0.25), c, q, k);
        Tensor expected = Reference.Weights(q, k) * survives.to(ScalarType.Float64) / 0.75;
        Tensor[] expectedGradients = TestData.Gradients(expected, c, q, k);
        TestData.Close(expectedGradients[0], gradients[0], 1e-11);
        TestData.Close(expectedGradients[1], gradients[1], 1e-11);
    }

    private static void Check(Tensor expected, Tensor actual, Tensor cotangent, params Tensor[] leaves)
    {
        TestData.Close(expected, actual, 1e-12, "O");
        Tensor[] expectedGradients = TestData.Gradients(expected, cotangent, leaves);
        Tensor[] gradients = TestData.Gradients(actual, cotangent, leaves);
        for (int i = 0; i < leaves.Length; i++)
            TestData.Close(expectedGradients[i], gradients[i], 1e-11, $"gradient {i}");
    }
}
