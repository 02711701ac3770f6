using TorchFlash.Modules;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>gradcheck through the module: all inputs and all parameters, by way of the output and of the weights.</summary>
public class MultiheadGradientTests
{
    private static readonly Tensor s_padding = tensor([false, false, true, false, false, true], [2L, 3L]);

    private static Tensor Input(int seed, params long[] shape) => TestData.Normal(seed, shape, requiresGrad: true);

    private static void Check(MultiheadAttention module, Tensor q, Tensor k, Tensor v, Tensor? padding = null, Tensor? mask = null, bool needWeights = true)
    {
        module.to(ScalarType.Float64);
        using (no_grad())
        {
            foreach (Tensor parameter in module.parameters())
                parameter.copy_(TestData.Normal((int)parameter.numel(), parameter.shape) * 0.5);
        }
        List<Tensor> leaves = [.. new[] { q, k, v }.Distinct(ReferenceEqualityComparer.Instance).Cast<Tensor>(), .. module.parameters()];
        if (mask is { requires_grad: true })
            leaves.Add(mask);
        Gradcheck.Check(
            () =>
            {
                (Tensor output, Tensor weights) = module.call(q, k, v, padding, needWeights, mask);
                return needWeights ? cat([output.reshape(-1), weights.reshape(-1)]) : output;
            },
            [.. leaves]);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void SelfAttention(bool causal, bool needWeights)
    {
        Tensor x = Input(1, 3, 2, 4);
        Check(flash.nn.MultiheadAttention(4, 2, is_causal: causal), x, x, x, needWeights: needWeights);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void CrossAttention(bool batchFirst)
    {
        Tensor q = batchFirst ? Input(1, 2, 5, 4) : Input(1, 5, 2, 4), k = batchFirst ? Input(2, 2, 3, 4) : Input(2, 3, 2, 4);
        Check(flash.nn.MultiheadAttention(4, 2, batch_first: batchFirst), q, k, k);
    }

    [Fact]
    public void WidthsOfKeyAndValue() =>
        Check(flash.nn.MultiheadAttention(4, 2, kdim: 3, vdim: 2), Input(1, 2, 2, 4), Input(2, 3, 2, 3), Input(3, 3, 2, 2));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AppendedKeys(bool causal)
    {
        Tensor x = Input(1, 3, 2, 4);
        Check(flash.nn.MultiheadAttention(4, 2, add_bias_kv: true, add_zero_attn: true, is_causal: causal), x, x, x);
    }

    [Fact]
    public void WithoutBias() =>
        Check(flash.nn.MultiheadAttention(4, 1, bias: false), Input(1, 2, 2, 4), Input(2, 3, 2, 4), Input(3, 3, 2, 4));

    [Fact]
    public void Masks()
    {
        Tensor x = Input(1, 3, 2, 4);
        Check(flash.nn.MultiheadAttention(4, 2), x, x, x, s_padding);
        Check(flash.nn.MultiheadAttention(4, 2), x, x, x, mask: Input(5, 3, 3));
        Check(flash.nn.MultiheadAttention(4, 2, is_causal: true), x, x, x, s_padding, Input(5, 4, 3, 3));
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, true)]
    public void MasksBesideAppendedKeys(bool causal, bool average)
    {
        Tensor x = Input(1, 3, 2, 4);
        Check(flash.nn.MultiheadAttention(4, 2, add_bias_kv: true, add_zero_attn: true, is_causal: causal, average_attn_weights: average), x, x, x, s_padding, Input(5, 4, 3, 3));
        Check(flash.nn.MultiheadAttention(4, 2, add_bias_kv: true, is_causal: causal, average_attn_weights: average), x, x, x, s_padding, Input(5, 3, 3));
    }
}
