using TorchFlash.Modules;
using TorchSharp;
using static TorchSharp.torch;
using LibTorchModule = TorchSharp.Modules.MultiheadAttention;

namespace TorchFlash.Tests;

/// <summary>flash.nn.MultiheadAttention against torch.nn.MultiheadAttention with the same weights.</summary>
public class MultiheadAttentionTests
{
    public static TheoryData<bool, bool, bool, bool> Options
    {
        get
        {
            TheoryData<bool, bool, bool, bool> options = [];
            foreach (bool bias in new[] { true, false })
                foreach (bool addBiasKv in new[] { false, true })
                    foreach (bool addZeroAttention in new[] { false, true })
                        foreach (bool sameKeyValue in new[] { true, false })
                            options.Add(bias, addBiasKv, addZeroAttention, sameKeyValue);
            return options;
        }
    }

    private static (LibTorchModule Theirs, MultiheadAttention Ours) Pair(
        long width = 12, long heads = 3, double dropout = 0, bool bias = true, bool addBiasKv = false, bool addZeroAttention = false, long? kdim = null, long? vdim = null)
    {
        manual_seed(11);
        LibTorchModule theirs = nn.MultiheadAttention(width, heads, dropout, bias, addBiasKv, addZeroAttention, kdim, vdim);
        using (no_grad())
        {
            foreach ((_, Tensor bias1) in theirs.state_dict().Where(entry => entry.Key.EndsWith("bias")))
                bias1.normal_(); // They start as 0, which would hide mistakes.
        }
        return (theirs, flash.nn.MultiheadAttention(theirs, heads, dropout, addZeroAttention));
    }

    /// <summary>Outputs, weights, and the gradients of inputs and of every parameter.</summary>
    private static void Agree(
        LibTorchModule theirs, MultiheadAttention ours, Tensor q, Tensor k, Tensor v, Tensor? padding = null, Tensor? mask = null, Tensor? oursMask = null)
    {
        Tensor[] inputs = [.. new[] { q, k, v }.Distinct(ReferenceEqualityComparer.Instance).Cast<Tensor>()];
        (Tensor expected, Tensor expectedWeights) = theirs.call(q, k, v, padding, true, mask);
        (Tensor actual, Tensor weights) = ours.call(q, k, v, padding, true, oursMask ?? mask);
        TestData.Close(expected, actual, 2e-6, "output");
        TestData.Close(expectedWeights, weights, 1e-6, "weights");

        Tensor c = TestData.Normal(7, expected.shape, expected.dtype), cw = TestData.Normal(8, expectedWeights.shape, expected.dtype);
        Dictionary<string, Tensor> theirState = theirs.state_dict(), ourState = ours.state_dict();
        string[] names = [.. theirState.Keys];
        foreach (bool withWeights in new[] { false, true })
        {
            (expected, expectedWeights) = theirs.call(q, k, v, padding, withWeights, mask);
            (actual, weights) = ours.call(q, k, v, padding, withWeights, oursMask ?? mask);
            Assert.Equal(expectedWeights.IsInvalid, weights.IsInvalid);
            Tensor[] expectedGradients = Gradients(expected, expectedWeights, [.. inputs, .. names.Select(name => theirState[name])]);
            Tensor[] gradients = Gradients(actual, weights, [.. inputs, .. names.Select(name => ourState[name])]);
            for (int i = 0; i < gradients.Length; i++)
                TestData.Close(expectedGradients[i], gradients[i], 3e-5, $"gradient of {(i < inputs.Length ? $"input {i}" : names[i - inputs.Length])}, with weights: {withWeights}");
        }

        Tensor[] Gradients(Tensor output, Tensor outputWeights, Tensor[] leaves)
        {
            foreach (Tensor leaf in leaves)
                leaf.grad = null;
            Tensor loss = (output * c).sum();
            if (!outputWeights.IsInvalid)
                loss = loss + (outputWeights * cw).sum();
            loss.backward();
            return [.. leaves.Select(leaf => leaf.grad!.clone())];
        }
    }

    private static Tensor Input(int seed, params long[] shape) => TestData.Normal(seed, shape, ScalarType.Float32, requiresGrad: true);

    [Theory]
    [MemberData(nameof(Options))]
    public void AgreesWithLibtorchsModule(bool bias, bool addBiasKv, bool addZeroAttention, bool sameKeyValue)
    {
        (LibTorchModule theirs, MultiheadAttention ours) = Pair(bias: bias, addBiasKv: addBiasKv, addZeroAttention: addZeroAttention);
        Tensor q = Input(1, 5, 2, 12), k = Input(2, 7, 2, 12), v = sameKeyValue ? k : Input(3, 7, 2, 12);
        Agree(theirs, ours, q, k, v);
        Agree(theirs, ours, q, q, q); // One packed product.
    }

    [Fact]
    public void AgreesWithDifferentKeyAndValueWidths()
    {
        (LibTorchModule theirs, MultiheadAttention ours) = Pair(kdim: 7, vdim: 7); // libtorch's C++ module takes no kdim != vdim.
        Agree(theirs, ours, Input(1, 5, 2, 12), Input(2, 6, 2, 7), Input(3, 6, 2, 7));
    }

    [Fact]
    public void KdimAndVdimMayDiffer()
    {
        MultiheadAttention ours = flash.nn.MultiheadAttention(12, 3, kdim: 7, vdim: 5);
        (Tensor output, Tensor weights) = ours.call(Input(1, 5, 2, 12), Input(2, 6, 2, 7), Input(3, 6, 2, 5));
        Assert.Equal([5L, 2, 12], output.shape);
        Assert.Equal([2L, 5, 6], weights.shape);
        TestData.Close(ones([2L, 5]), weights.sum(-1L), 1e-6);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, true)]
    public void AgreesWithMasks(bool addBiasKv, bool addZeroAttention)
    {
        (LibTorchModule theirs, MultiheadAttention ours) = Pair(addBiasKv: addBiasKv, addZeroAttention: addZeroAttention);
        Tensor q = Input(1, 5, 2, 12), k = Input(2, 7, 2, 12);
        Tensor padding = tensor([false, false, true, false, true, true, false, false, false, false, false, false, false, true], [2L, 7L]);
        Tensor additive = TestData.Normal(5, [5, 7], ScalarType.Float32);
        Agree(theirs, ours, q, k, k, padding);
        Agree(theirs, ours, q, k, k, mask: additive);
        Agree(theirs, ours, q, k, k, padding, additive);
        Tensor masked = Reference.Causal(5, 7).logical_not();
        Tensor minusInfinity = zeros([5L, 7L]).masked_fill(masked, double.NegativeInfinity);
        Agree(theirs, ours, q, k, k, padding, minusInfinity, oursMask: masked); // Theirs would add 1 for a bool.
        theirs.eval();
        ours.eval();
        Agree(theirs, ours, q, k, k, padding, additive);
    }

    [Fact]
    public void AMaskForEveryHeadOfEveryEntry() // libtorch's C++ module takes none.
    {
        MultiheadAttention ours = flash.nn.MultiheadAttention(12, 3);
        Tensor q = Input(1, 5, 2, 12), k = Input(2, 7, 2, 12);
        Tensor perEntry = TestData.Normal(5, [2, 5, 7], ScalarType.Float32);
        (Tensor output, Tensor weights) = ours.call(q, k, k, attn_mask: perEntry.repeat_interleave(3, 0));
        for (int n = 0; n < 2; n++)
        {
            Tensor keys = k.narrow(1, n, 1);
            (Tensor expected, Tensor expectedWeights) = ours.call(q.narrow(1, n, 1), keys, keys, attn_mask: perEntry[n]);
            TestData.Close(expected, output.narrow(1, n, 1), 1e-6);
            TestData.Close(expectedWeights, weights.narrow(0, n, 1), 1e-6);
        }

        using IDisposable noGrad = no_grad();
        Tensor perHead = zeros([6L, 5L, 7L]);
        perHead.narrow(0, 1, 1).fill_(double.NegativeInfinity); // Head 1 of entry 0 is out.
        weights = ours.call(q, k, k, attn_mask: perHead).Item2;
        TestData.Close(full([5L], 2.0 / 3, ScalarType.Float32), weights[0].sum(-1L), 1e-6);
        TestData.Close(ones([5L]), weights[1].sum(-1L), 1e-6);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void CausalIsTheSameAsACausalMask(bool addBiasKv)
    {
        manual_seed(1);
        MultiheadAttention causal = flash.nn.MultiheadAttention(12, 3, add_bias_kv: addBiasKv, is_causal: true);
        MultiheadAttention masked = flash.nn.MultiheadAttention(12, 3, add_bias_kv: addBiasKv);
        masked.load_state_dict(causal.state_dict());
        Tensor x = Input(1, 6, 2, 12);
        (Tensor output, Tensor weights) = causal.call(x, x, x);
        (Tensor expected, Tensor expectedWeights) = masked.call(x, x, x, attn_mask: Reference.Causal(6, 6).logical_not());
        TestData.Close(expected, output, 1e-6);
        TestData.Close(expectedWeights, weights, 1e-6);
    }

    [Fact]
    public void BatchFirstIsTheSameTransposed()
    {
        (_, MultiheadAttention sequenceFirst) = Pair();
        MultiheadAttention batchFirst = flash.nn.MultiheadAttention(12, 3, batch_first: true);
        batchFirst.load_state_dict(sequenceFirst.state_dict());
        Tensor q = Input(1, 5, 2, 12), k = Input(2, 7, 2, 12);
        Tensor padding = tensor([false, false, true, false, true, true, false, false, false, false, false, false, false, true], [2L, 7L]);
        foreach (Tensor? mask in new[] { null, padding })
        {
            (Tensor expected, Tensor expectedWeights) = sequenceFirst.call(q, k, k, mask);
            Tensor keys = k.transpose(0, 1);
            (Tensor actual, Tensor weights) = batchFirst.call(q.transpose(0, 1), keys, keys, mask);
            TestData.Close(expected, actual.transpose(0, 1), 1e-6);
            TestData.Close(expectedWeights, weights, 1e-6);
        }
    }

    [Fact]
    public void ASequenceOfPaddingOnlyGivesTheOutputBias()
    {
        (_, MultiheadAttention ours) = Pair();
        Tensor x = Input(1, 5, 2, 12);
        Tensor padding = tensor([true, true, true, true, true, false, false, false, false, false], [2L, 5L]);
        (Tensor output, Tensor weights) = ours.call(x, x, x, padding);
        TestData.Close(ours.state_dict()["out_proj.bias"].expand(5, 12), output.select(1, 0), 1e-6);
        TestData.Close(zeros([5L, 5L]), weights.select(0, 0), 0);
        (output.sum() + weights.sum()).backward();
        Assert.True(x.grad!.isfinite().all().item<bool>());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void DropoutIsThatOfItsSeedInTrainingAndOffInEvaluation(bool average)
    {
        (LibTorchModule theirs, MultiheadAttention ours) = Pair(dropout: 0.4);
        theirs.eval();
        Tensor x = Input(1, 6, 2, 12);
        ours.average_attn_weights = false;
        ours.eval();
        (Tensor output, Tensor all) = ours.call(x, x, x);
        TestData.Close(theirs.call(x, x, x).Item1, output, 1e-6);
        ours.train();
        ours.average_attn_weights = average;
        manual_seed(5);
        Tensor dropped = all * flash.dropout_mask(flash.dropout_seed(), 0.4, 2, 3, 6, 6).to(ScalarType.Float32) / 0.6;
        manual_seed(5);
        (output, Tensor weights) = ours.call(x, x, x);
        TestData.Close(average ? dropped.mean([1L]) : dropped, weights, 1e-6);
        manual_seed(5);
        TestData.Identical(output, ours.call(x, x, x, need_weights: false).Item1);
    }

    [Fact]
    public void WeightsOfEveryHeadAverageToTheWeights()
    {
        (_, MultiheadAttention ours) = Pair(addBiasKv: true);
        MultiheadAttention perHead = flash.nn.MultiheadAttention(12, 3, add_bias_kv: true, average_attn_weights: false);
        perHead.load_state_dict(ours.state_dict());
        Tensor q = Input(1, 5, 2, 12), k = Input(2, 7, 2, 12), mask = TestData.Normal(5, [6, 5, 7], ScalarType.Float32);
        Tensor weights = perHead.call(q, k, k, attn_mask: mask).Item2;
        Assert.Equal([2L, 3, 5, 8], weights.shape);
        TestData.Close(ours.call(q, k, k, attn_mask: mask).Item2, weights.mean([1L]), 1e-6);
    }

    [Theory]
    [InlineData(0, 2, 7)]
    [InlineData(5, 0, 7)]
    [InlineData(5, 2, 0)]
    public void EmptySizesWork(long l, long n, long s)
    {
        MultiheadAttention ours = flash.nn.MultiheadAttention(12, 3);
        Tensor q = Input(1, l, n, 12), k = Input(2, s, n, 12);
        (Tensor output, Tensor weights) = ours.call(q, k, k);
        Assert.Equal([l, n, 12], output.shape);
        Assert.Equal([n, l, s], weights.shape);
        (output.sum() + weights.sum()).backward();
        Assert.Equal(q.shape, q.grad!.shape);
    }

    [Fact]
    public void HooksRunOnCall()
    {
        MultiheadAttention ours = flash.nn.MultiheadAttention(12, 3);
        int runs = 0;
        ours.register_forward_hook((_, _, _, _, _, _, _, result) =>
        {
            runs++;
            return result;
        });
        Tensor x = Input(1, 6, 2, 12);
        ours.call(x, x, x);
        ours.forward(x, x, x);
        Assert.Equal(1, runs);
    }
}
