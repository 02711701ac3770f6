using TorchFlash.Attention;
using TorchFlash.Modules;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>create_graph: gradients of gradients, in float64 against central differences of the fused gradients.</summary>
public class SecondDerivativeTests
{
    [Theory]
    [InlineData(2, 2, 5, 5, 4, 4, false, CausalAlignment.TopLeft)]
    [InlineData(1, 2, 4, 6, 3, 5, false, CausalAlignment.TopLeft)]
    [InlineData(1, 2, 5, 5, 4, 3, true, CausalAlignment.TopLeft)]
    [InlineData(1, 1, 3, 6, 3, 2, true, CausalAlignment.TopLeft)]
    [InlineData(1, 1, 3, 6, 3, 2, true, CausalAlignment.BottomRight)]
    [InlineData(1, 2, 7, 4, 2, 3, true, CausalAlignment.TopLeft)]
    [InlineData(1, 2, 7, 4, 2, 3, true, CausalAlignment.BottomRight)] // Rows without keys.
    public void OfAttention(long b, long h, long nq, long nk, long d, long dv, bool causal, CausalAlignment alignment)
    {
        (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(b, h, nq, nk, d, dv);
        Gradcheck.CheckTwice(
            () => flash.nn.functional.scaled_dot_product_attention(q, k, v, is_causal: causal, causal_alignment: alignment, scale: -0.7), [q, k, v]);
    }

    [Theory]
    [InlineData(4, 2, true)]
    [InlineData(3, 1, false)]
    public void OfGroupedHeads(long heads, long keyHeads, bool causal)
    {
        Tensor q = TestData.Normal(1, [2, heads, 4, 3], requiresGrad: true), k = TestData.Normal(2, [2, keyHeads, 5, 3], requiresGrad: true), v = TestData.Normal(3, [2, keyHeads, 5, 2], requiresGrad: true);
        Gradcheck.CheckTwice(() => flash.nn.functional.scaled_dot_product_attention(q, k, v, is_causal: causal, enable_gqa: true), [q, k, v]);
    }

    [Fact]
    public void OfBroadcastOperands()
    {
        Tensor q = TestData.Normal(1, [2, 1, 4, 3], requiresGrad: true), k = TestData.Normal(2, [2, 5, 3], requiresGrad: true), v = TestData.Normal(3, [1, 1, 5, 2], requiresGrad: true);
        Gradcheck.CheckTwice(() => flash.nn.functional.scaled_dot_product_attention(q, k, v), [q, k, v]);
    }

    [Fact]
    public void OfStridesThatNeedACopyAndOfOneTensor()
    {
        Tensor x = TestData.Normal(1, [1, 2, 3, 4], requiresGrad: true); // d before N
        Gradcheck.CheckTwice(() => flash.nn.functional.scaled_dot_product_attention(x.transpose(2, 3), x.transpose(2, 3), x.transpose(2, 3)), [x]);
    }

    [Fact]
    public void OfOneOperandAlone()
    {
        (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(1, 2, 4, 5, 3, 2, requiresGrad: false);
        foreach (Tensor leaf in new[] { q, k, v })
        {
            leaf.requires_grad_(true);
            Gradcheck.CheckTwice(() => flash.nn.functional.scaled_dot_product_attention(q, k, v), [leaf]);
            leaf.requires_grad_(false);
        }
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void OfTheModule(bool needWeights, bool padded)
    {
        Tensor x = TestData.Normal(1, [3, 2, 4], requiresGrad: true);
        using MultiheadAttention module = flash.nn.MultiheadAttention(4, 2, is_causal: true);
        module.to(ScalarType.Float64);
        Tensor? padding = padded ? tensor(new[] { false, false, true, false, false, true }, [2L, 3L]) : null;
        Gradcheck.CheckTwice(
            () =>
            {
                (Tensor output, Tensor weights) = module.call(x, x, x, padding, needWeights);
                return needWeights ? cat([output.reshape(-1), weights.reshape(-1)]) : output;
            },
            [x, .. module.parameters()]);
    }

    [Fact]
    public void OfTheWeightsAlone()
    {
        (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(2, 2, 4, 5, 3, 2);
        Gradcheck.CheckTwice(() => new AttentionCall(q, k, v).Attend(new(Weights: true)).Weights!, [q, k]);
    }

    [Fact]
    public void OfGroupedHeadsThroughTheWeightsToo()
    {
        Tensor q = TestData.Normal(1, [2, 4, 3, 3], requiresGrad: true), k = TestData.Normal(2, [2, 2, 4, 3], requiresGrad: true), v = TestData.Normal(3, [2, 2, 4, 2], requiresGrad: true);
        Tensor Both()
        {
            (Tensor output, Tensor? weights, _) = new AttentionCall(q, k, v).Attend(new(Weights: true));
            return cat([output.reshape(-1), weights!.reshape(-1)]);
        }
        Gradcheck.Check(Both, [q, k, v]);
        Gradcheck.CheckTwice(Both, [q, k, v]);
    }

    [Fact]
    public void BackwardCreatesAGraphToo()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(1, 2, 6, 7, 4, 4);
        Tensor[] expected = Second(Reference.Attention(q, k, v)), actual = Second(flash.nn.functional.scaled_dot_product_attention(q, k, v));
        for (int i = 0; i < 3; i++)
            TestData.Close(expected[i], actual[i], 1e-10, $"gradient {i}");

        // The gradient of |dQ|² after backward() has left dQ, with its graph, in q.grad.
        Tensor[] Second(Tensor output)
        {
            q.grad = k.grad = v.grad = null;
            autograd.backward((output * c).sum(), create_graph: true);
            Tensor penalty = q.grad!.square().sum();
            q.grad = k.grad = v.grad = null;
            return [.. autograd.grad([penalty], [q, k, v])];
        }
    }

    [Fact]
    public void ThirdDerivativesWorkToo()
    {
        (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(1, 1, 3, 4, 2, 2);
        Tensor expected = Third(Reference.Attention(q, k, v)), actual = Third(flash.nn.functional.scaled_dot_product_attention(q, k, v));
        TestData.Close(expected, actual, 1e-10);

        Tensor Third(Tensor output)
        {
            Tensor first = autograd.grad([output.square().sum()], [q], retain_graph: true, create_graph: true)[0];
            Tensor second = autograd.grad([first.square().sum()], [k], retain_graph: true, create_graph: true)[0];
            return autograd.grad([second.square().sum()], [v])[0];
        }
    }

    [Fact]
    public void NoKeysHaveDerivativesOfZero()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(1, 2, 3, 0, 4, 5);
        IList<Tensor> gradients = autograd.grad([(flash.nn.functional.scaled_dot_product_attention(q, k, v) * c).sum()], [q, k, v], create_graph: true);
        TestData.Close(zeros_like(q), gradients[0], 0);
        Assert.Equal([k.shape, v.shape], gradients.Skip(1).Select(gradient => gradient.shape));
    }

    [Theory]
    [InlineData(ScalarType.Float32, 1e-3)]
    [InlineData(ScalarType.BFloat16, 0.3)]
    public void OfOtherTypes(ScalarType type, double tolerance)
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(1, 2, 6, 7, 4, 4);
        Tensor[] typed = [.. new[] { q, k, v }.Select(x => x.detach().to(type).requires_grad_(true))];
        Tensor first = autograd.grad([(Reference.Attention(q, k, v) * c).sum()], [q], retain_graph: true, create_graph: true)[0];
        Tensor expected = autograd.grad([first.square().sum()], [k])[0];
        Tensor output = flash.nn.functional.scaled_dot_product_attention(typed[0], typed[1], typed[2]);
        first = autograd.grad([(output * c.to(type)).sum()], [typed[0]], retain_graph: true, create_graph: true)[0];
        Assert.Equal(type, first.dtype);
        TestData.Close(expected, autograd.grad([first.square().sum()], [typed[1]])[0], tolerance);
    }
}
