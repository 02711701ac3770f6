using TorchFlash.Attention;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Scores;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>Every ready-made program by the engine: against the composed path, against the lambda that it stands for, and by gradcheck.</summary>
public class ScoreTests
{
    private const int B = 2, H = 3, Nq = 9, Nk = 11;

    /// <summary>A program under test: its lambda, and the tensors that get a gradient.</summary>
    private sealed record Sample(string Name, ScoreProgram Ready, ScoreProgram? Lambda, params Tensor[] Leaves)
    {
        public override string ToString() => Name;
    }

    private static Tensor Real(int seed, params long[] shape) => TestData.Normal(seed, shape, requiresGrad: true);

    private static Tensor Ints(int below, int seed, params long[] shape)
    {
        Random random = new(seed);
        return tensor([.. Enumerable.Range(0, (int)shape.Aggregate(1L, (a, b) => a * b)).Select(_ => (long)random.Next(below))], shape);
    }

    private static List<Sample> Samples(int b = B, int h = H, int nq = Nq, int nk = Nk)
    {
        ScoreProgram none = ScoreProgram.Identity;
        int n = nq + nk;
        Tensor slopes = Real(1, h), table = Real(2, h, 2 * n + 1), shared = Real(3, 1, 5), t5 = Real(4, 8, h), bias = Real(5, b, h, nq, nk), row = Real(6, 1, h, 1, nk);
        Tensor mask = bias.detach().gt(-0.5), keep = TestData.Normal(7, [b, nk]).gt(-0.7), lengths = Ints(nk + 1, 1, b);
        Tensor ids = Ints(3, 2, b, nq), keyIds = Ints(3, 3, b, nk), blocks = TestData.Normal(8, [h, (nq + 3) / 4, (nk + 4) / 5]).gt(-0.2);
        RealTensor slopesOf = flash.reals(slopes), tableOf = flash.reals(table), sharedOf = flash.reals(shared), biasOf = flash.reals(bias), rowOf = flash.reals(row);
        IntTensor lengthsOf = flash.ints(lengths), idsOf = flash.ints(ids), keyIdsOf = flash.ints(keyIds);
        BoolTensor maskOf = flash.bools(mask), keepOf = flash.bools(keep), blocksOf = flash.bools(blocks);
        int offset = nk - nq;
        double cap = 1.5;
        return
        [
            new("causal", none.causal(), flash.where((b, h, i, j) => j <= i)),
            new("causal bottom right", none.causal(offset), flash.where((b, h, i, j) => j <= i + offset)),
            new("window", none.window(3, 1), flash.where((b, h, i, j) => i - j <= 3 && j - i <= 1)),
            new("left window, shifted", none.window(2, -1, offset), flash.where((b, h, i, j) => j >= i + offset - 2)),
            new("alibi", none.alibi(slopes), flash.score((s, b, h, i, j) => s + slopesOf[h] * (j - i)), slopes),
            new("softcap", none.softcap(cap), flash.score((s, b, h, i, j) => cap * flash.tanh(s / cap))),
            new("relative bias", none.relative_bias(table, offset: offset), flash.score((s, b, h, i, j) => s + tableOf[h, i + offset - j + n]), table),
            new("clipped relative bias", none.relative_bias(shared, clip: true), flash.score((s, b, h, i, j) => s + sharedOf[0, flash.clamp(i - j + 2, 0, 4)]), shared),
            new("t5", none.t5_bias(t5, max_distance: 9), null, t5),
            new("t5 causal", none.t5_bias(t5, bidirectional: false, max_distance: 7, offset: 1).causal(1), null, t5),
            new("prefix lm", none.prefix_lm(lengths), flash.where((b, h, i, j) => j <= i || j < lengthsOf[b])),
            new("documents", none.documents(ids, keyIds), flash.where((b, h, i, j) => idsOf[b, i] == keyIdsOf[b, j])),
            new("key padding", none.key_padding(lengths.to(ScalarType.Int32)), flash.where((b, h, i, j) => j < lengthsOf[b])),
            new("key mask", none.key_mask(keep), flash.where((b, h, i, j) => keepOf[b, j])),
            new("bias", none.bias(bias), flash.score((s, b, h, i, j) => s + biasOf[b, h, i, j]), bias),
            new("bias of keys", none.bias(row), flash.score((s, b, h, i, j) => s + rowOf[0, h, 0, j]), row),
            new("mask", none.mask(mask), flash.where((b, h, i, j) => maskOf[b, h, i, j])),
            new("blocks", none.blocks(BlockMask.of(blocks, 4, 5)), flash.where((b, h, i, j) => blocksOf[h, i / 4, j / 5])),
            new("all at once", none.alibi(slopes).softcap(cap).bias(row).window(4, 4).mask(mask).documents(ids, keyIds),
                flash.score((s, b, h, i, j) => cap * flash.tanh((s + slopesOf[h] * (j - i)) / cap) + rowOf[0, h, 0, j])
                    .where((b, h, i, j) => Math.Abs(i - j) <= 4 && maskOf[b, h, i, j] && idsOf[b, i] == keyIdsOf[b, j]),
                slopes, row),
        ];
    }

    /// <summary>O, weights and log-sum-exp of the composed path, which libtorch differentiates by itself.</summary>
    internal static AttentionResults Composed(AttentionCall call)
    {
        ComposedAttention composed = new(call.Problem, call.Operands);
        return new(composed.Output, composed.Weights, composed.LogSumExp);
    }

    [Fact]
    public void ReadyMadesAreTheirLambdas()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(B, H, Nq, Nk, 4, 3);
        foreach (Sample sample in Samples().Where(sample => sample.Lambda is not null))
        {
            Tensor expected = flash.nn.functional.attention(q, k, v, sample.Lambda), actual = flash.nn.functional.attention(q, k, v, sample.Ready);
            TestData.Close(expected, actual, 1e-13, sample.Name);
            Tensor[] leaves = [q, k, v, .. sample.Leaves], gradients = TestData.Gradients(expected, c, leaves), others = TestData.Gradients(actual, c, leaves);
            for (int i = 0; i < leaves.Length; i++)
                TestData.Close(gradients[i], others[i], 1e-12, $"{sample.Name}, gradient {i}");
        }
    }

    [Theory]
    [InlineData(0.0, false)]
    [InlineData(0.3, true)]
    public void FusedIsComposed(double p, bool sunk)
    {
        foreach ((ScalarType type, double tolerance) in new[] { (ScalarType.Float64, 1e-12), (ScalarType.Float32, 1e-4) })
        {
            foreach (Sample sample in Samples(2, 4, 70, 83))
            {
                using DisposeScope scope = NewDisposeScope();
                Tensor q = TestData.Normal(1, [2, 4, 70, 9], type, true), k = TestData.Normal(2, [2, 2, 83, 9], type, true), v = TestData.Normal(3, [2, 2, 83, 5], type, true);
                Tensor? sinks = sunk ? TestData.Normal(4, [4], type, true) : null;
                Tensor[] leaves = [q, k, v, .. sample.Leaves, .. sinks is null ? [] : new[] { sinks }];
                AttentionCall call = new(q, k, v, CausalMask.None, 0.7, sample.Ready, sinks, p, 17);
                AttentionResults expected = Composed(call), actual = call.Attend(new(true, true, true));
                TestData.Close(expected.Output, actual.Output, tolerance, $"{sample.Name} O");
                TestData.Close(expected.Weights!, actual.Weights!, tolerance, $"{sample.Name} weights");
                TestData.Identical(expected.LogSumExp!.isfinite(), actual.LogSumExp!.isfinite(), $"{sample.Name} empty rows");
                TestData.Close(Finite(expected.LogSumExp!), Finite(actual.LogSumExp!), tolerance, $"{sample.Name} LSE");
                Tensor[] expectedGradients = Gradients(expected), gradients = Gradients(actual);
                for (int i = 0; i < leaves.Length; i++)
                    TestData.Close(expectedGradients[i], gradients[i], tolerance * 30, $"{sample.Name} of {type}, gradient {i}");

                Tensor[] Gradients(AttentionResults results)
                {
                    foreach (Tensor leaf in leaves)
                        leaf.grad = null;
                    Loss(results.Output, 5).add(Loss(results.Weights!, 6)).add(Loss(Finite(results.LogSumExp!), 7)).backward();
                    return [.. leaves.Select(leaf => leaf.grad!.clone())];
                }

                Tensor Loss(Tensor x, int seed) => (x * TestData.Normal(seed, x.shape, type)).sum();
            }
        }

        static Tensor Finite(Tensor x) => x.masked_fill(x.isfinite().logical_not(), 0);
    }

    [Fact]
    public void EveryGradientByCentralDifferences()
    {
        foreach (Sample sample in Samples(2, 2, 4, 5))
        {
            (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(2, 2, 4, 5, 3, 2);
            Tensor sinks = Real(9, 2);
            Gradcheck.Check(() => Both(sample.Ready), [q, k, v, sinks, .. sample.Leaves]);

            Tensor Both(ScoreProgram score)
            {
                manual_seed(4);
                (Tensor o, Tensor lse) = flash.nn.functional.attention_lse(q, k, v, score, p: 0.2, sinks: sinks);
                return cat([o.reshape(-1), lse.reshape(-1)]);
            }
        }
    }

    [Fact]
    public void EverythingThroughTheWeightsByCentralDifferences()
    {
        foreach (bool perHead in new[] { false, true })
        {
            foreach (Sample sample in Samples(2, 2, 3, 4))
            {
                (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(2, 2, 3, 4, 3, 2);
                Tensor sinks = Real(9, 2);
                Gradcheck.Check(
                    () =>
                    {
                        AttentionResults results = new AttentionCall(q, k, v, score: sample.Ready, sinks: sinks, dropout: 0.2, dropoutSeed: 3).Attend(new(true, perHead));
                        return cat([results.Output.reshape(-1), results.Weights!.reshape(-1)]);
                    },
                    [q, k, v, sinks, .. sample.Leaves]);
            }
        }
    }

    [Fact]
    public void GradientsOfGradients()
    {
        foreach (Sample sample in Samples(1, 2, 3, 4).Where(sample => sample.Name is "alibi" or "softcap" or "relative bias" or "bias of keys" or "all at once"))
        {
            (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(1, 2, 3, 4, 3, 2);
            Tensor sinks = Real(9, 2);
            Gradcheck.CheckTwice(
                () =>
                {
                    manual_seed(4);
                    (Tensor o, Tensor lse) = flash.nn.functional.attention_lse(q, k, v, sample.Ready, p: 0.2, sinks: sinks);
                    return cat([o.reshape(-1), lse.reshape(-1)]);
                },
                [q, k, v, sinks, .. sample.Leaves]);
        }
    }

    [Fact]
    public void GradientsOfGradientsThroughTheWeights()
    {
        (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(1, 2, 3, 4, 3, 2);
        Tensor slopes = Real(8, 2), sinks = Real(9, 2);
        Gradcheck.CheckTwice(
            () => new AttentionCall(q, k, v, score: ScoreProgram.Identity.alibi(slopes).softcap(2), sinks: sinks, dropout: 0.2, dropoutSeed: 3).Attend(new(true, true)).Weights!,
            [q, k, slopes, sinks]);
    }

    [Theory]
    [InlineData(0.7)]
    [InlineData(-0.7)]
    [InlineData(0)]
    public void LogSumExpAloneOfAnyScale(double scale)
    {
        (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(1, 2, 70, 80, 8, 6);
        Tensor c = TestData.Normal(5, [1, 2, 70]), near = Reference.Causal(70, 80, 9);
        foreach ((ScoreProgram? score, Func<Tensor, Tensor> modified) in new (ScoreProgram?, Func<Tensor, Tensor>)[]
        {
            (null, s => s),
            (ScoreProgram.Identity.causal(9), s => s.masked_fill(near.logical_not(), double.NegativeInfinity)),
            (ScoreProgram.Identity.softcap(2), s => 2 * (s / 2).tanh()),
        })
        {
            Tensor expected = modified(matmul(q, k.transpose(2, 3)) * scale).logsumexp(-1);
            Tensor[] expectedGradients = TestData.Gradients(expected, c, q, k);
            Tensor lse = flash.nn.functional.attention_lse(q, k, v, score, scale: scale).lse;
            TestData.Close(expected, lse, 1e-12);
            Tensor[] gradients = TestData.Gradients(lse, c, q, k);
            TestData.Close(expectedGradients[0], gradients[0], 1e-11);
            TestData.Close(expectedGradients[1], gradients[1], 1e-11);
        }
    }

    [Fact]
    public void LibtorchsOwnAttentionGetsTheMaskThatAProgramIs()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(B, H, Nq, Nk, 4, 3);
        int masks = 0;
        foreach (Sample sample in Samples())
        {
            AttentionCall call = new(q, k, v, score: sample.Ready);
            if (!call.Problem.Score!.IsAdditive)
                continue;
            masks++;
            Tensor mask = call.AsMask()!;
            bool hides = mask.dtype == ScalarType.Bool;
            Tensor expected = Reference.Attention(q, k, v, allowed: hides ? mask : null, bias: hides ? null : mask), actual = flash.nn.functional.attention(q, k, v, sample.Ready);
            Tensor some = expected.isfinite(); // The formula gives NaN where there is nothing.
            TestData.Close(expected.masked_fill(some.logical_not(), 0), actual, 1e-12, sample.Name);
        }
        Assert.Equal(17, masks);
    }

    [Fact]
    public void AgreesWithLibtorchsOwnWithTheSameMask()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(2, 3, 65, 80, 32, 32, ScalarType.Float32);
        Tensor bias = TestData.Normal(5, [2, 1, 65, 80], ScalarType.Float32);
        foreach (Tensor mask in new[] { bias, bias.gt(-1) })
        {
            Tensor expected = nn.functional.scaled_dot_product_attention(q, k, v, mask), actual = flash.nn.functional.scaled_dot_product_attention(q, k, v, mask);
            TestData.Close(expected, actual, 1e-5);
            Tensor[] expectedGradients = TestData.Gradients(expected, c, q, k, v), gradients = TestData.Gradients(actual, c, q, k, v);
            for (int i = 0; i < 3; i++)
                TestData.Close(expectedGradients[i], gradients[i], 1e-4, $"gradient {i}");
        }
    }

    public static TheoryData<bool, bool, bool, bool> Broadcasts
    {
        get
        {
            TheoryData<bool, bool, bool, bool> all = [];
            for (int i = 0; i < 16; i++)
                all.Add((i & 8) != 0, (i & 4) != 0, (i & 2) != 0, (i & 1) != 0);
            return all;
        }
    }

    [Theory]
    [MemberData(nameof(Broadcasts))]
    public void AnAdditiveMaskGetsItsGradientInItsOwnShape(bool batch, bool heads, bool queries, bool keys)
    {
        long[] shape = [batch ? 2 : 1, heads ? 3 : 1, queries ? 65 : 1, keys ? 70 : 1];
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(2, 3, 65, 70, 8, 8);
        Tensor bias = Real(5, shape);
        foreach (bool causal in new[] { false, true })
        {
            Tensor expected = Reference.Attention(q, k, v, bias: bias, allowed: causal ? Reference.Causal(65, 70) : null);
            Tensor[] expectedGradients = TestData.Gradients(expected, c, q, k, v, bias);
            Tensor actual = flash.nn.functional.scaled_dot_product_attention(q, k, v, bias, is_causal: causal);
            Tensor[] gradients = TestData.Gradients(actual, c, q, k, v, bias);
            TestData.Close(expected, actual, 1e-12);
            for (int i = 0; i < 4; i++)
                TestData.Close(expectedGradients[i], gradients[i], 1e-10, $"gradient {i}");
        }
    }

    [Fact]
    public void BucketsAreThoseOfT5()
    {
        // The buckets of 32 with 128 that the published models compute for these distances j - i.
        foreach ((bool bidirectional, long distance, long bucket) in new[]
        {
            (true, 0L, 0L), (true, -1, 1), (true, -7, 7), (true, -8, 8), (true, -12, 9), (true, -127, 15), (true, -500, 15), (true, 1, 17), (true, 8, 24), (true, 200, 31),
            (false, 0, 0), (false, 5, 0), (false, -15, 15), (false, -16, 16), (false, -19, 17), (false, -127, 31), (false, -1000, 31),
        })
        {
            Tensor table = zeros([32, 1], ScalarType.Float64);
            table.narrow(0, bucket, 1).fill_(3.0);
            Tensor q = zeros([1, 1, 1, 1], ScalarType.Float64), k = zeros([1, 1, 2, 1], ScalarType.Float64);
            // One query at the position -distance + 0 sees key 0 at the distance, and key 1 beside it.
            Tensor lse = flash.nn.functional.attention_lse(q, k.narrow(2, 0, 1), k.narrow(2, 0, 1), ScoreProgram.Identity.t5_bias(table, bidirectional, offset: -distance)).lse;
            Assert.Equal(3.0, lse.item<double>());
        }
    }

    [Fact]
    public void SlopesAreThePapers()
    {
        TestData.Close(tensor([0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]), flash.alibi_slopes(8), 1e-7);
        TestData.Close(tensor([0.0625, 0.00390625, 0.25]), flash.alibi_slopes(3), 1e-7); // 2 heads, and the first of 4.
    }

    [Fact]
    public void SinksAreAColumnWithoutAValue()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(2, 3, 20, 30, 8, 6);
        Tensor sinks = Real(5, 3);
        Tensor s = matmul(q, k.transpose(2, 3)) / Math.Sqrt(8);
        s = s.masked_fill(Reference.Causal(20, 30).logical_not(), double.NegativeInfinity);
        Tensor expected = matmul(cat([s, sinks.view(1, 3, 1, 1).expand(2, 3, 20, 1)], -1).softmax(-1).narrow(3, 0, 30), v);
        Tensor[] expectedGradients = TestData.Gradients(expected, c, q, k, v, sinks);
        Tensor actual = flash.nn.functional.attention(q, k, v, is_causal: true, sinks: sinks);
        TestData.Close(expected, actual, 1e-12);
        Tensor[] gradients = TestData.Gradients(actual, c, q, k, v, sinks);
        for (int i = 0; i < 4; i++)
            TestData.Close(expectedGradients[i], gradients[i], 1e-11, $"gradient {i}");
    }

    [Fact]
    public void PartsOverDifferentKeysAreJoinedByTheirLogSumExp()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(2, 3, 20, 50, 8, 6);
        Tensor whole = flash.nn.functional.attention(q, k, v);
        (Tensor first, Tensor a) = flash.nn.functional.attention_lse(q, k.narrow(2, 0, 30), v.narrow(2, 0, 30));
        (Tensor second, Tensor b) = flash.nn.functional.attention_lse(q, k.narrow(2, 30, 20), v.narrow(2, 30, 20));
        Tensor share = (a - b).sigmoid().unsqueeze(-1), joined = first * share + second * (1 - share);
        TestData.Close(whole, joined, 1e-12);
        Tensor[] expected = TestData.Gradients(whole, c, q, k, v), gradients = TestData.Gradients(joined, c, q, k, v);
        for (int i = 0; i < 3; i++)
            TestData.Close(expected[i], gradients[i], 1e-11, $"gradient {i}");
    }

    [Fact]
    public void RowsWithNothingGiveZeroAndNoGradient()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(1, 2, 70, 70, 8, 8);
        Tensor bias = Real(5, 70, 70);
        (Tensor o, Tensor lse) = flash.nn.functional.attention_lse(q, k, v, flash.where((b, h, i, j) => i != 3 && i < 64).bias(bias));
        Assert.True(lse.narrow(2, 3, 1).eq(double.NegativeInfinity).all().item<bool>());
        Assert.True(lse.narrow(2, 64, 6).eq(double.NegativeInfinity).all().item<bool>());
        TestData.Close(zeros([1, 2, 6, 8]), o.narrow(2, 64, 6), 0);
        Tensor[] gradients = TestData.Gradients(o, c, q, k, v, bias);
        Assert.All(gradients, gradient => Assert.True(gradient.isfinite().all().item<bool>()));
        TestData.Close(zeros([1, 2, 1, 8]), gradients[0].narrow(2, 3, 1), 0);
        TestData.Close(zeros([6, 70]), gradients[3].narrow(0, 64, 6), 0);
    }

    [Fact]
    public void DropoutIsTheMaskOfItsSeed()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(2, 3, 70, 90, 8, 6);
        manual_seed(3);
        Tensor z = flash.dropout_mask(flash.dropout_seed(), 0.3, 2, 3, 70, 90).to(ScalarType.Float64) / 0.7;
        Tensor expected = matmul(Reference.Weights(q, k) * z, v);
        Tensor[] expectedGradients = TestData.Gradients(expected, c, q, k, v);
        foreach (int threads in new[] { 1, 2, 3 })
        {
            int before = get_num_threads();
            set_num_threads(threads);
            manual_seed(3);
            Tensor actual = flash.nn.functional.scaled_dot_product_attention(q, k, v, p: 0.3);
            Tensor[] gradients = TestData.Gradients(actual, c, q, k, v);
            set_num_threads(before);
            TestData.Close(expected, actual, 1e-12);
            for (int i = 0; i < 3; i++)
                TestData.Close(expectedGradients[i], gradients[i], 1e-11, $"gradient {i}");
        }
        manual_seed(4);
        Assert.NotEqual(TestData.Values(expected), TestData.Values(flash.nn.functional.scaled_dot_product_attention(q, k, v, p: 0.3)));
        double kept = flash.dropout_mask(5, 0.3, 2, 3, 100, 100).to(ScalarType.Float64).mean().item<double>();
        Assert.InRange(kept, 0.7 - 0.01, 0.7 + 0.01);
    }

    [Fact]
    public void CapturedTensorsAreReadAtEveryCallAndMayBeOfAnotherType()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(1, 2, 9, 9, 4, 4);
        TorchSharp.Modules.Parameter slopes = new(TestData.Normal(1, [2], ScalarType.Float32));
        ScoreProgram score = ScoreProgram.Identity.alibi(slopes);
        Tensor before = flash.nn.functional.attention(q, k, v, score);
        using (no_grad())
            slopes.add_(1);
        Tensor actual = flash.nn.functional.attention(q, k, v, score), distance = arange(9).unsqueeze(0) - arange(9).unsqueeze(1);
        Tensor expected = Reference.Attention(q, k, v, bias: slopes.to(ScalarType.Float64).view(1, 2, 1, 1) * distance);
        TestData.Close(expected, actual, 1e-12);
        Tensor[] expectedGradients = TestData.Gradients(expected, c, slopes);
        Assert.Equal(ScalarType.Float32, slopes.grad!.dtype);
        TestData.Close(expectedGradients[0], TestData.Gradients(actual, c, slopes)[0], 1e-5);
        Assert.NotEqual(TestData.Values(before), TestData.Values(actual));
    }

    [Fact]
    public void CapturedTensorsOfAnyStrides()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(2, 3, 33, 40, 4, 4);
        Tensor across = Real(5, 40, 33, 3), every = Real(6, 2, 80);
        Tensor bias = across.permute(2, 1, 0), row = every.slice(1, 0, 80, 2).view(2, 1, 1, 40);
        Tensor expected = Reference.Attention(q, k, v, bias: bias + row), actual = flash.nn.functional.attention(q, k, v, ScoreProgram.Identity.bias(bias).bias(row));
        TestData.Close(expected, actual, 1e-12);
        Tensor[] expectedGradients = TestData.Gradients(expected, c, q, across, every), gradients = TestData.Gradients(actual, c, q, across, every);
        for (int i = 0; i < 3; i++)
            TestData.Close(expectedGradients[i], gradients[i], 1e-11, $"gradient {i}");
    }

    [Theory]
    [InlineData(ScalarType.Float16)]
    [InlineData(ScalarType.BFloat16)]
    public void HalfPrecisionTakesPrograms(ScalarType type)
    {
        double unit = type == ScalarType.BFloat16 ? 1 / 256.0 : 1 / 2048.0;
        Tensor[] narrow = [.. Enumerable.Range(1, 3).Select(seed => TestData.Normal(seed, [1, 2, 20, 8], type, requiresGrad: true))];
        Tensor[] wide = [.. narrow.Select(x => x.detach().to(ScalarType.Float64).requires_grad_(true))];
        Tensor slopes = Real(5, 2), sinks = Real(6, 2), c = TestData.Normal(7, [1, 2, 20, 8], type), lseGradient = TestData.Normal(8, [1, 2, 20]);
        (Tensor expected, Tensor expectedLse) = Attend(wide);
        (Tensor actual, Tensor lse) = Attend(narrow);
        Assert.Equal((type, ScalarType.Float32), (actual.dtype, lse.dtype));
        CloseTo(expected, actual);
        TestData.Close(expectedLse, lse, 1e-5);
        Tensor[] expectedGradients = Gradients(expected, expectedLse, wide), gradients = Gradients(actual, lse, narrow);
        for (int i = 0; i < gradients.Length; i++)
            CloseTo(expectedGradients[i], gradients[i]);

        (Tensor, Tensor) Attend(Tensor[] x) =>
            flash.nn.functional.attention_lse(x[0], x[1], x[2], ScoreProgram.Identity.alibi(slopes).window(5, 0), sinks: sinks);

        Tensor[] Gradients(Tensor o, Tensor logSumExp, Tensor[] x)
        {
            Tensor[] leaves = [.. x, slopes, sinks];
            foreach (Tensor leaf in leaves)
                leaf.grad = null;
            ((o * c.to(o.dtype)).sum().to(ScalarType.Float64) + (logSumExp * lseGradient.to(logSumExp.dtype)).sum().to(ScalarType.Float64)).backward();
            return [.. leaves.Select(leaf => leaf.grad!.clone())];
        }

        void CloseTo(Tensor exact, Tensor x) => TestData.Close(exact, x, 4 * unit * exact.abs().max().item<double>());
    }

    [Fact]
    public void ACapturedTensorChangedInPlaceIsAnErrorAndNotACrash()
    {
        Tensor x = TestData.Normal(1, [1, 1, 4, 4]);
        foreach (Tensor leaf in new[] { Real(1, 1), Real(2, 1, 1), Real(3, 1, 1, 1), Real(4, 4, 4) })
        {
            Tensor bias = leaf * 1;
            Tensor loss = flash.nn.functional.attention(x, x, x, ScoreProgram.Identity.bias(bias)).sum();
            bias.add_(1);
            RouteTests.Warnings(() => Assert.ThrowsAny<Exception>(() => loss.backward()));
            Assert.Contains("modified by an inplace operation", flash.last_backward_exception!.Message);
            Assert.Null(leaf.grad);
        }
        Tensor mask = ones([4, 4], ScalarType.Bool), q = Real(5, 1, 1, 4, 4), output = flash.nn.functional.attention(q, x, x, ScoreProgram.Identity.mask(mask));
        mask.fill_(false);
        RouteTests.Warnings(() => Assert.ThrowsAny<Exception>(() => output.sum().backward()));
    }

    [Fact]
    public void ProgramsOfOperandsWithOtherLeadingDimensions()
    {
        Tensor q = Real(1, 2, 2, 3, 5, 4), k = Real(2, 2, 2, 3, 7, 4), slopes = Real(3, 3);
        ScoreProgram score = ScoreProgram.Identity.alibi(slopes);
        (Tensor o, Tensor lse) = flash.nn.functional.attention_lse(q, k, k, score);
        Assert.Equal([2L, 2, 3, 5], lse.shape);
        TestData.Close(flash.nn.functional.attention(q.view(4, 3, 5, 4), k.view(4, 3, 7, 4), k.view(4, 3, 7, 4), score), o.view(4, 3, 5, 4), 1e-13);
        TestData.Close(flash.nn.functional.attention(q.select(0, 0).select(0, 0), k.select(0, 0).select(0, 0), k.select(0, 0).select(0, 0), score), o.select(0, 0).select(0, 0), 1e-13);
    }

    [Theory]
    [InlineData(0, 2, 4, 5)]
    [InlineData(2, 0, 4, 5)]
    [InlineData(2, 3, 0, 5)]
    [InlineData(2, 3, 4, 0)]
    public void EmptySizesWork(long b, long h, long nq, long nk)
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(b, h, nq, nk, 4, 4);
        Tensor slopes = Real(1, h), sinks = Real(2, h), bias = Real(3, b, h, nq, nk);
        (Tensor o, Tensor lse) = flash.nn.functional.attention_lse(q, k, v, ScoreProgram.Identity.alibi(slopes).bias(bias).causal(), p: 0.1, sinks: sinks);
        TestData.Close(zeros_like(c), o, 0);
        foreach (Tensor gradient in TestData.Gradients(o, c, q, k, v, slopes, sinks, bias))
            TestData.Close(zeros_like(gradient), gradient, 0);
        TestData.Close(sinks.view(1, -1, 1).expand(b, h, nq), lse, 1e-15);
    }
}
