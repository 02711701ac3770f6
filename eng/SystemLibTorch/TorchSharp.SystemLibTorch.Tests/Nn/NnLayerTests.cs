using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TorchSharpTests;

/// <summary>Values and gradients of the layers against their formulas, in double precision.</summary>
public sealed class NnLayerTests
{
    private readonly Random random = new(7);

    private double[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => (random.NextDouble() * 4) - 2)];

    private static Tensor Leaf(double[] values, params long[] shape) => tensor(values, shape, requires_grad: true);

    private static void Close(IEnumerable<double> expected, Tensor? actual)
    {
        Assert.NotNull(actual);
        var values = actual.data<double>().ToArray();
        var wanted = expected.ToArray();
        Assert.Equal(wanted.Length, values.Length);
        for (var i = 0; i < wanted.Length; i++) Assert.Equal(wanted[i], values[i], 1e-11);
    }

    [Fact]
    public void LinearIsItsFormula()
    {
        const int rows = 3, inputs = 4, outputs = 2;
        var (x, w, b, g) = (Values(rows * inputs), Values(outputs * inputs), Values(outputs), Values(rows * outputs));
        using var scope = NewDisposeScope();
        using var layer = Linear(Parameter(tensor(w, [outputs, inputs])), Parameter(tensor(b, [outputs])));
        var input = Leaf(x, rows, inputs);
        var result = layer.call(input);
        result.backward([tensor(g, [rows, outputs])]);

        double[] y = new double[rows * outputs], dx = new double[x.Length], dw = new double[w.Length], db = new double[outputs];
        for (var i = 0; i < rows; i++)
        {
            for (var o = 0; o < outputs; o++)
            {
                var d = g[(i * outputs) + o];
                y[(i * outputs) + o] = b[o];
                db[o] += d;
                for (var k = 0; k < inputs; k++)
                {
                    y[(i * outputs) + o] += x[(i * inputs) + k] * w[(o * inputs) + k];
                    dx[(i * inputs) + k] += d * w[(o * inputs) + k];
                    dw[(o * inputs) + k] += d * x[(i * inputs) + k];
                }
            }
        }

        Close(y, result);
        Close(dx, input.grad);
        Close(dw, layer.weight.grad);
        Close(db, layer.bias!.grad);
        Assert.Equal((inputs, outputs), (layer.in_features, layer.out_features));
    }

    [Fact]
    public void LayerNormIsItsFormula()
    {
        const int rows = 3, n = 5;
        const double eps = 1e-5;
        var (x, w, b, g) = (Values(rows * n), Values(n), Values(n), Values(rows * n));
        using var scope = NewDisposeScope();
        using var layer = LayerNorm(n, eps, dtype: ScalarType.Float64);
        layer.weight = Parameter(tensor(w));
        layer.bias = Parameter(tensor(b));
        var input = Leaf(x, rows, n);
        var result = layer.call(input);
        result.backward([tensor(g, [rows, n])]);

        double[] y = new double[x.Length], dx = new double[x.Length], dw = new double[n], db = new double[n];
        for (var i = 0; i < rows; i++)
        {
            var row = x.AsSpan(i * n, n).ToArray();
            var mean = row.Average();
            var r = 1 / Math.Sqrt(row.Average(value => (value - mean) * (value - mean)) + eps);
            var h = row.Select(value => (value - mean) * r).ToArray();
            var dh = h.Select((_, k) => g[(i * n) + k] * w[k]).ToArray();
            var (meanOfDh, meanOfDhH) = (dh.Average(), dh.Zip(h, (p, q) => p * q).Average());
            for (var k = 0; k < n; k++)
            {
                y[(i * n) + k] = (h[k] * w[k]) + b[k];
                dx[(i * n) + k] = r * (dh[k] - meanOfDh - (h[k] * meanOfDhH));
                dw[k] += g[(i * n) + k] * h[k];
                db[k] += g[(i * n) + k];
            }
        }

        Close(y, result);
        Close(dx, input.grad);
        Close(dw, layer.weight.grad);
        Close(db, layer.bias.grad);
    }

    [Fact]
    public void LayerNormStartsAsPlainNormalisationAndMayHaveNoParameters()
    {
        using var layer = LayerNorm([2, 3]);
        Assert.Equal(Enumerable.Repeat(1f, 6), layer.weight.data<float>().ToArray());
        Assert.Equal(Enumerable.Repeat(0f, 6), layer.bias!.data<float>().ToArray());
        using var bare = LayerNorm(3, elementwise_affine: false);
        Assert.Empty(bare.parameters());
        using var x = tensor(new[] { 1.0, 2, 3 });
        var r = 1 / Math.Sqrt((2.0 / 3) + 1e-5);
        Close([-r, 0, r], bare.call(x));
        using var unbiased = LayerNorm(3, bias: false);
        Assert.Null(unbiased.bias);
    }

    [Fact]
    public void EmbeddingLooksRowsUpAndSumsTheirGradients()
    {
        using var scope = NewDisposeScope();
        using var layer = Embedding_from_pretrained(tensor(new double[] { 1, 2, 3, 4, 5, 6 }, [3, 2]), freeze: false);
        var result = layer.call(tensor(new long[] { 2, 0, 2 }));
        Close([5, 6, 1, 2, 5, 6], result);
        result.backward([tensor(new double[] { 1, 2, 3, 4, 10, 20 }, [3, 2])]);
        Close([3, 4, 0, 0, 11, 22], layer.weight!.grad);
    }

    [Fact]
    public void EmbeddingGivesItsPaddingRowNoGradient()
    {
        using var scope = NewDisposeScope();
        using var layer = Embedding(3, 2, padding_idx: 1, dtype: ScalarType.Float64);
        Close([0, 0], layer.weight![1]);
        layer.call(tensor(new long[] { 0, 1, 1 })).sum().backward();
        Close([1, 1, 0, 0, 0, 0], layer.weight!.grad);
        Assert.Throws<ArgumentOutOfRangeException>(() => Embedding(3, 2, padding_idx: 3));
    }

    [Fact]
    public void EmbeddingHandsOutNewObjectsOverTheSameWeight()
    {
        using var layer = Embedding(3, 2);
        using (var weight = layer.weight!)
        {
            Assert.NotSame(weight, layer.get_parameter("weight"));
            Assert.True(weight.requires_grad && weight.is_leaf);
            using var fill = no_grad();
            weight.fill_(2);
        }

        Assert.Equal(Enumerable.Repeat(2f, 6), layer.get_parameter("weight")!.data<float>().ToArray());
    }

    [Fact]
    public void EmbeddingCutsLongRows()
    {
        using var layer = Embedding_from_pretrained(tensor(new double[] { 3, 4, 0.3, 0.4 }, [2, 2]), max_norm: 1);
        using var result = layer.call(tensor(new long[] { 0, 1 }));
        Assert.Equal(1, result[0].norm().ToDouble(), 1e-6);
        Close([0.3, 0.4], result[1]);
    }

    [Fact]
    public void GeluAndReluAreTheirFormulas()
    {
        double[] x = [-3, -1, -0.25, 0, 0.5, 2];
        using var scope = NewDisposeScope();
        using var gelu = GELU();
        var input = Leaf(x, x.Length);
        var result = gelu.call(input);
        result.sum().backward();
        Close(x.Select(v => v * NormalDistribution(v)), result);
        Close(x.Select(v => NormalDistribution(v) + (v * Math.Exp(-v * v / 2) / Math.Sqrt(2 * Math.PI))), input.grad);

        using var relu = ReLU(inplace: true);
        var changed = tensor(x);
        Close(x.Select(v => Math.Max(v, 0)), relu.call(changed));
        Close(x.Select(v => Math.Max(v, 0)), changed);
    }

    // Φ by Simpson's rule on 0 ... |x|: its error at 2,000 intervals is far below the tolerance.
    private static double NormalDistribution(double x)
    {
        const int intervals = 2000;
        var h = x / intervals;
        var sum = 0.0;
        for (var i = 0; i <= intervals; i++)
        {
            var factor = i is 0 or intervals ? 1 : i % 2 == 1 ? 4 : 2;
            sum += factor * Math.Exp(-i * h * i * h / 2);
        }

        return 0.5 + (sum * h / 3 / Math.Sqrt(2 * Math.PI));
    }

    [Fact]
    public void DropoutActsInTrainingOnly()
    {
        manual_seed(3);
        using var layer = Dropout(0.25);
        using var x = ones(100_000);
        var y = layer.call(x).data<float>().ToArray();
        Assert.All(y, value => Assert.True(value is 0 or 1 / 0.75f));
        Assert.InRange(y.Count(value => value == 0) / 100_000.0, 0.245, 0.255);
        layer.eval();
        Assert.All(layer.call(x).data<float>().ToArray(), value => Assert.Equal(1, value));
    }

    [Fact]
    public void SequentialChainsItsModules()
    {
        using var model = Sequential(Linear(Parameter(full([1, 1], 2f))), ReLU(), Identity());
        using var x = tensor(new[] { -1f, 3f }, [2, 1]);
        Assert.Equal([0f, 6f], model.call(x).data<float>().ToArray());
        Assert.Equal(3, model.Count);
        Assert.IsType<ReLU>(model[1]);
        using var empty = Sequential();
        Assert.Equal([-1f, 3f], empty.call(x).data<float>().ToArray());
        Assert.False(x.IsInvalid);
    }

    [Fact]
    public void InitialWeightsHaveTheDocumentedSpread()
    {
        manual_seed(11);
        using var layer = Linear(100, 400);
        Assert.InRange(layer.weight.abs().max().ToDouble(), 0.0999, 0.1);
        Assert.InRange(layer.weight.std().ToDouble(), 0.0570, 0.0585); // 0.1 / √3
        Assert.InRange(layer.bias!.abs().max().ToDouble(), 0.095, 0.1);
        using var table = Embedding(1000, 50);
        Assert.InRange(table.get_parameter("weight")!.std().ToDouble(), 0.99, 1.01);

        using var weight = empty(400, 100);
        foreach (var fill in new Func<Tensor, double, Tensor>[] { init.xavier_uniform_, init.xavier_normal_ })
        {
            Assert.Same(weight, fill(weight, 2));
            Assert.InRange(weight.std().ToDouble(), 0.1255, 0.1275); // 2 √(2 / 500)
        }

        init.kaiming_uniform_(weight, mode: init.FanInOut.FanOut, nonlinearity: init.NonlinearityType.ReLU);
        Assert.InRange(weight.std().ToDouble(), 0.0700, 0.0714); // √(2 / 400)
        init.normal_(weight, 5, 0.02);
        Assert.InRange(weight.std().ToDouble(), 0.0195, 0.0205);
        Assert.InRange(weight.mean().ToDouble(), 4.999, 5.001);
        Assert.Equal((6, 12), init.CalculateFanInAndFanOut(empty(4, 2, 3)));
        Assert.Throws<ArgumentException>(() => init.xavier_uniform_(empty(3)));
    }
}
