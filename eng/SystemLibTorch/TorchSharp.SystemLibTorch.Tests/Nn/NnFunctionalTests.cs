using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TorchSharpTests;

public sealed class NnFunctionalTests
{
    private static double[] Elements(Tensor tensor) => tensor.to(ScalarType.Float64).data<double>().ToArray();

    private static void Close(double[] expected, Tensor actual)
    {
        var values = Elements(actual);
        Assert.Equal(expected.Length, values.Length);
        for (var i = 0; i < expected.Length; i++) Assert.Equal(expected[i], values[i], 1e-12);
    }

    [Fact]
    public void SoftmaxAndItsLogarithm()
    {
        using var x = tensor(new[] { 1.0, 2, 3 }, [1, 3]);
        double[] e = [Math.Exp(1), Math.Exp(2), Math.Exp(3)];
        Close([.. e.Select(value => value / e.Sum())], functional.softmax(x, -1));
        Close([.. e.Select(value => Math.Log(value / e.Sum()))], functional.log_softmax(x, 1));
        Assert.Equal(ScalarType.Float32, functional.softmax(x, 1, ScalarType.Float32).dtype);
    }

    [Fact]
    public void CrossEntropyWithEveryOption()
    {
        using var logits = tensor(new[] { 0.0, Math.Log(3), 0, 0 }, [2, 2]); // rows (1/4, 3/4) and (1/2, 1/2)
        using var target = tensor(new long[] { 1, 0 });
        double[] losses = [-Math.Log(0.75), -Math.Log(0.5)];
        Close([losses.Average()], functional.cross_entropy(logits, target));
        Close(losses, functional.cross_entropy(logits, target, reduction: Reduction.None));
        Close([losses.Sum()], functional.cross_entropy(logits, target, reduction: Reduction.Sum));
        Close([losses[1]], functional.cross_entropy(logits, target, ignore_index: 1));
        var smoothed = (0.9 * losses[0]) + (0.1 * (-Math.Log(0.25) - Math.Log(0.75)) / 2);
        Close([(smoothed + losses[1]) / 2], functional.cross_entropy(logits, target, label_smoothing: 0.1));
        using var weight = tensor(new[] { 3.0, 1.0 });
        Close([(losses[0] + (3 * losses[1])) / 4], functional.cross_entropy(logits, target, weight));
        using var module = CrossEntropyLoss(ignore_index: 0);
        Close([losses[0]], module.call(logits, target));
    }

    [Fact]
    public void MeanSquaredError()
    {
        using var x = tensor(new[] { 1.0, 2 });
        using var y = tensor(new[] { 4.0, 2 });
        using var module = MSELoss();
        Close([4.5], module.call(x, y));
        Close([9], functional.mse_loss(x, y, Reduction.Sum));
    }

    [Fact]
    public void PaddingAndOneHot()
    {
        using var x = tensor(new[] { 1.0, 2, 3 }, [1, 3]);
        Close([7, 1, 2, 3, 7, 7], functional.pad(x, (1, 2), value: 7));
        Close([0, 0, 0, 1, 2, 3], functional.pad(x, [0, 0, 1, 0]));
        Close([2, 1, 2, 3, 2], functional.pad(x, (1, 1), PaddingModes.Reflect));
        Close([1, 1, 2, 3, 3], functional.pad(x, (1, 1), PaddingModes.Replicate));
        Close([3, 1, 2, 3, 1], functional.pad(x.unsqueeze(0), (1, 1), PaddingModes.Circular));
        using var index = tensor(new long[] { 2, 0 });
        Close([0, 0, 1, 1, 0, 0], functional.one_hot(index));
        Assert.Equal([2, 5], functional.one_hot(index, 5).shape);
        Assert.Throws<ArgumentException>(() => functional.one_hot(x));
    }

    [Fact]
    public void ScaledDotProductAttentionIsItsDefinition()
    {
        const int queries = 3, keys = 4, d = 2, dv = 3;
        manual_seed(5);
        using var scope = NewDisposeScope();
        var q = randn([1, 2, queries, d], ScalarType.Float64);
        var k = randn([1, 2, keys, d], ScalarType.Float64);
        var v = randn([1, 2, keys, dv], ScalarType.Float64);
        var allowed = tensor(new[] { true, false, true, true, false, false, false, false, true, true, false, true }, [queries, keys]);
        var added = randn([queries, keys], ScalarType.Float64);
        Compare((_, _) => 0, functional.scaled_dot_product_attention(q, k, v));
        Compare((i, j) => j <= i ? 0 : double.NegativeInfinity, functional.scaled_dot_product_attention(q, k, v, is_casual: true));
        Compare((i, j) => allowed[i, j].ToBoolean() ? 0 : double.NegativeInfinity, functional.scaled_dot_product_attention(q, k, v, allowed));
        Compare((i, j) => added[i, j].ToDouble(), functional.scaled_dot_product_attention(q, k, v, added));
        Assert.Throws<ArgumentException>(() => functional.scaled_dot_product_attention(q, k, v, added, is_casual: true));

        void Compare(Func<int, int, double> mask, Tensor actual)
        {
            double[] qs = Elements(q), ks = Elements(k), vs = Elements(v);
            List<double> expected = [];
            for (var h = 0; h < 2; h++)
            {
                for (var i = 0; i < queries; i++)
                {
                    var scores = Enumerable.Range(0, keys).Select(j => mask(i, j) + (Enumerable.Range(0, d)
                        .Sum(e => qs[(((h * queries) + i) * d) + e] * ks[(((h * keys) + j) * d) + e]) / Math.Sqrt(d))).ToArray();
                    var weights = scores.Select(Math.Exp).ToArray();
                    var sum = weights.Sum();
                    for (var e = 0; e < dv; e++)
                    {
                        var o = Enumerable.Range(0, keys).Sum(j => weights[j] * vs[(((h * keys) + j) * dv) + e]);
                        expected.Add(sum == 0 ? 0 : o / sum);
                    }
                }
            }

            Close([.. expected], actual);
        }
    }

    [Fact]
    public void AttentionToNothingGivesZerosAndZeroGradients()
    {
        using var scope = NewDisposeScope();
        var q = randn([2, 2], ScalarType.Float64).requires_grad_();
        var k = randn([3, 2], ScalarType.Float64).requires_grad_();
        var v = randn([3, 2], ScalarType.Float64).requires_grad_();
        var mask = tensor(new[] { false, false, false, true, true, false }, [2, 3]);
        var result = functional.scaled_dot_product_attention(q, k, v, mask);
        Close([0, 0], result[0]);
        result.sum().backward();
        Close([0, 0], q.grad![0]);
        Assert.All(new[] { q, k, v }, leaf => Assert.All(Elements(leaf.grad!), value => Assert.True(double.IsFinite(value))));
    }

    [Fact]
    public void ClippingScalesAllGradientsToTheNorm()
    {
        using var scope = NewDisposeScope();
        var (a, b, unused) = (Parameter(zeros(2, dtype: ScalarType.Float64)), Parameter(zeros(1, dtype: ScalarType.Float64)), Parameter(zeros(1)));
        ((a * tensor(new[] { 3.0, 0 })).sum() + (b * 4).sum()).backward();
        Assert.Equal(5, nn.utils.clip_grad_norm_([a, b, unused], 10), 1e-12);
        Close([3, 0], a.grad!);
        Assert.Equal(5, nn.utils.clip_grad_norm_([a, b, unused], 1), 1e-12);
        Close([3 / (5 + 1e-6), 0], a.grad!);
        Close([4 / (5 + 1e-6)], b.grad!);
        Assert.Null(unused.grad);
        Assert.Equal(4 / (5 + 1e-6), nn.utils.clip_grad_norm_([a, b], 100, double.PositiveInfinity), 1e-12);
        nn.utils.clip_grad_value_([a, b, unused], 0.7);
        Close([3 / (5 + 1e-6), 0], a.grad!);
        Close([0.7], b.grad!);
        Assert.Equal(0, nn.utils.clip_grad_norm_([unused], 1));
    }

    [Fact]
    public void ParametersLineUpInOneVector()
    {
        using var a = Parameter(tensor(new[] { 1.0, 2, 3, 4 }, [2, 2]));
        using var b = Parameter(tensor(new[] { 5.0 }));
        Close([1, 2, 3, 4, 5], nn.utils.parameters_to_vector([a, b]).detach());
    }
}
