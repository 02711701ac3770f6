using FsCheck;
using FsCheck.Fluent;
using TorchFlash.Attention;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Scores;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>Random combinations of steps and options, values and all gradients against the composed path, which libtorch differentiates; a failure is shrunk.</summary>
public class ScoreFuzzTests
{
    private enum Step
    {
        Alibi,
        Softcap,
        Window,
        Relative,
        Clipped,
        T5,
        PrefixLm,
        Documents,
        Padding,
        KeyMask,
        Bias,
        BroadcastBias,
        Mask,
        BroadcastMask,
        Blocks,
        Lambda,
    }

    private sealed record Sample(
        int Batch, int KeyHeads, int Group, int Queries, int Keys, int Dim, int ValueDim, Step[] Steps, CausalMask Causal, double P, bool Sinks, bool RowsBeforeHeads, int Seed)
    {
        public override string ToString() =>
            $"B {Batch}, H {KeyHeads}x{Group}, {Queries} x {Keys}, d {Dim} {ValueDim}, {string.Join(' ', Steps)}, {Causal}, p {P}, sinks {Sinks}, BNHd {RowsBeforeHeads}, seed {Seed}";
    }

    private static Gen<Sample> Samples =>
        from batch in Gen.Choose(1, 2)
        from keyHeads in Gen.Choose(1, 2)
        from grouped in Gen.Choose(1, 3)
        from queries in Gen.Choose(1, 90)
        from keys in Gen.Choose(1, 90)
        from dim in Gen.Choose(1, 20)
        from valueDim in Gen.Choose(1, 20)
        from count in Gen.Choose(0, 4)
        from steps in Gen.Elements(Enum.GetValues<Step>()).ArrayOf(count)
        from causal in Gen.Elements(Enum.GetValues<CausalMask>())
        from p in Gen.Elements(0, 0.25)
        from sinks in Gen.Elements(false, true)
        from rowsBeforeHeads in Gen.Elements(false, true)
        from seed in Gen.Choose(0, 1_000_000)
        select new Sample(batch, keyHeads, grouped, queries, keys, dim, valueDim, steps, causal, p, sinks, rowsBeforeHeads, seed);

    [Fact]
    public void FusedIsComposed()
    {
        Config config = Config.QuickThrowOnFailure.WithMaxTest(200).WithReplay(20260801, 1); // The second number must be odd.
        Prop.ForAll(Arb.From(Samples, Shrink), Check).Check(config);
    }

    private static ScoreProgram Program(Sample x, List<Tensor> leaves)
    {
        Random random = new(x.Seed);
        int heads = x.KeyHeads * x.Group, n = x.Queries + x.Keys;
        ScoreProgram program = ScoreProgram.Identity;
        foreach (Step step in x.Steps)
        {
            program = step switch
            {
                Step.Alibi => program.alibi(Leaf(heads)),
                Step.Softcap => program.softcap(1 + random.NextDouble()),
                Step.Window => program.window(random.Next(-1, 40), random.Next(-1, 40), random.Next(-5, 6)),
                Step.Relative => program.relative_bias(Leaf(heads, 2 * n + 1)),
                Step.Clipped => program.relative_bias(Leaf(1, 9), clip: true, offset: random.Next(5)),
                Step.T5 => program.t5_bias(Leaf(8, heads), random.Next(2) == 0, 20),
                Step.PrefixLm => program.prefix_lm(Ints(x.Keys + 1, x.Batch)),
                Step.Documents => program.documents(Ints(3, x.Batch, x.Queries), Ints(3, x.Batch, x.Keys)),
                Step.Padding => program.key_padding(Ints(x.Keys + 1, x.Batch)),
                Step.KeyMask => program.key_mask(Bools(x.Batch, x.Keys)),
                Step.Bias => program.bias(Leaf(x.Batch, heads, x.Queries, x.Keys)),
                Step.BroadcastBias => program.bias(Leaf(One(x.Batch), One(heads), One(x.Queries), One(x.Keys))),
                Step.Mask => program.mask(Bools(x.Queries, x.Keys)),
                Step.BroadcastMask => program.mask(Bools(One(x.Batch), One(heads), One(x.Queries), One(x.Keys))),
                Step.Blocks => program.blocks(BlockMask.of(Bools(heads, (x.Queries + 6) / 7, (x.Keys + 4) / 5), 7, 5)),
                _ => Lambda(program),
            };
        }
        return program;

        ScoreProgram Lambda(ScoreProgram before)
        {
            RealTensor temperature = flash.reals(Leaf(heads, x.Queries)), key = flash.reals(Leaf(x.Batch, x.Keys));
            int distance = random.Next(30);
            return before.then((s, b, h, i, j) => (Math.Abs(i - j) < distance ? s : 0.5 * s) * flash.sigmoid(temperature[h, i]) + flash.max(key[b, j], 0.1))
                .where((b, h, i, j) => (i + j) % 3 != 0 || h == 0);
        }

        int One(int size) => random.Next(2) == 0 ? 1 : size;

        Tensor Leaf(params int[] shape)
        {
            leaves.Add(TestData.Normal(random.Next(), [.. shape.Select(size => (long)size)], requiresGrad: true));
            return leaves[^1];
        }

        Tensor Bools(params int[] shape) => TestData.Normal(random.Next(), [.. shape.Select(size => (long)size)]).gt(-0.5);

        Tensor Ints(int below, params int[] shape) =>
            tensor([.. Enumerable.Range(0, shape.Aggregate(1, (a, b) => a * b)).Select(_ => (long)random.Next(below))], [.. shape.Select(size => (long)size)]);
    }

    private static void Check(Sample x)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor Operand(int seed, int heads, int rows, int width) => x.RowsBeforeHeads
            ? TestData.Normal(seed, [x.Batch, rows, heads, width], requiresGrad: true) : TestData.Normal(seed, [x.Batch, heads, rows, width], requiresGrad: true);

        Tensor View(Tensor operand) => x.RowsBeforeHeads ? operand.transpose(1, 2) : operand;

        int heads = x.KeyHeads * x.Group;
        List<Tensor> leaves = [Operand(x.Seed, heads, x.Queries, x.Dim), Operand(x.Seed + 1, x.KeyHeads, x.Keys, x.Dim), Operand(x.Seed + 2, x.KeyHeads, x.Keys, x.ValueDim)];
        Tensor? sinks = x.Sinks ? TestData.Normal(x.Seed + 3, [heads], requiresGrad: true) : null;
        ScoreProgram program = Program(x, leaves);
        AttentionCall call = new(View(leaves[0]), View(leaves[1]), View(leaves[2]), x.Causal, score: program, sinks: sinks, dropout: x.P, dropoutSeed: (ulong)x.Seed);
        if (sinks is not null)
            leaves.Add(sinks);
        AttentionResults expected = ScoreTests.Composed(call), actual = call.Attend(new(LogSumExp: true));
        Tensor empty = expected.LogSumExp!.eq(double.NegativeInfinity);
        TestData.Identical(empty, actual.LogSumExp!.eq(double.NegativeInfinity), "empty rows");
        TestData.Close(expected.Output, actual.Output, 1e-11, "O");
        TestData.Close(expected.LogSumExp!.masked_fill(empty, 0), actual.LogSumExp!.masked_fill(empty, 0), 1e-11, "LSE");
        Tensor[] expectedGradients = Gradients(expected), gradients = Gradients(actual);
        for (int i = 0; i < leaves.Count; i++)
            TestData.Close(expectedGradients[i], gradients[i], 1e-9, $"gradient {i}");

        Tensor[] Gradients(AttentionResults results)
        {
            foreach (Tensor leaf in leaves)
                leaf.grad = null;
            Tensor o = results.Output, lse = results.LogSumExp!.masked_fill(empty, 0);
            ((o * TestData.Normal(x.Seed + 4, o.shape)).sum() + (lse * TestData.Normal(x.Seed + 5, lse.shape)).sum() + leaves.Select(leaf => leaf.sum() * 0).Aggregate((a, b) => a + b)).backward();
            return [.. leaves.Select(leaf => leaf.grad!.clone())];
        }
    }

    private static IEnumerable<Sample> Shrink(Sample x)
    {
        for (int k = 0; k < x.Steps.Length; k++)
            yield return x with { Steps = [.. x.Steps.Where((_, other) => other != k)] };
        if (x.Batch > 1)
            yield return x with { Batch = 1 };
        if (x.Group > 1)
            yield return x with { Group = 1 };
        if (x.KeyHeads > 1)
            yield return x with { KeyHeads = 1 };
        if (x.Causal != CausalMask.None)
            yield return x with { Causal = CausalMask.None };
        if (x.P > 0)
            yield return x with { P = 0 };
        if (x.Sinks)
            yield return x with { Sinks = false };
        foreach (int n in new[] { x.Queries / 2, x.Queries - 1 }.Where(n => n > 0 && n < x.Queries))
            yield return x with { Queries = n };
        foreach (int n in new[] { x.Keys / 2, x.Keys - 1 }.Where(n => n > 0 && n < x.Keys))
            yield return x with { Keys = n };
    }
}
