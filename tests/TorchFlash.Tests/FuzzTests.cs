using FsCheck;
using FsCheck.Fluent;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>Random shapes, layouts, masks and options against the formula, values and gradients; a failure is shrunk.</summary>
public class FuzzTests
{
    private enum Mask
    {
        None,
        Bool,
        Additive,
    }

    private sealed record Sample(
        int Batch, int Heads, int Queries, int Keys, int Dim, int ValueDim, bool Causal, CausalAlignment Alignment, Mask Mask, bool RowsBeforeHeads, int Seed);

    private static Gen<Sample> Samples =>
        from batch in Gen.Choose(0, 3)
        from heads in Gen.Choose(1, 3)
        from queries in Gen.Choose(0, 40)
        from keys in Gen.Choose(0, 40)
        from dim in Gen.Choose(1, 20)
        from valueDim in Gen.Choose(1, 20)
        from causal in Gen.Elements(false, true)
        from alignment in Gen.Elements(Enum.GetValues<CausalAlignment>())
        from mask in Gen.Elements(Mask.None, Mask.None, Mask.Bool, Mask.Additive)
        from rowsBeforeHeads in Gen.Elements(false, true)
        from seed in Gen.Choose(0, 1_000_000)
        select new Sample(batch, heads, queries, keys, dim, valueDim, causal, alignment, mask, rowsBeforeHeads, seed);

    [Fact]
    public void AgreesWithTheFormula()
    {
        Config config = Config.QuickThrowOnFailure.WithMaxTest(300).WithReplay(20260103, 1); // The second number must be odd.
        Prop.ForAll(Arb.From(Samples, Shrink), Check).Check(config);
    }

    private static void Check(Sample sample)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor Operand(int seed, int rows, int width) => TestData.Normal(
            seed, sample.RowsBeforeHeads ? [sample.Batch, rows, sample.Heads, width] : [sample.Batch, sample.Heads, rows, width], requiresGrad: true);

        Tensor View(Tensor x) => sample.RowsBeforeHeads ? x.transpose(1, 2) : x;

        Tensor q = Operand(sample.Seed, sample.Queries, sample.Dim), k = Operand(sample.Seed + 1, sample.Keys, sample.Dim), v = Operand(sample.Seed + 2, sample.Keys, sample.ValueDim);
        Tensor mask = TestData.Normal(sample.Seed + 3, [sample.Batch, 1, sample.Queries, sample.Keys]);
        Tensor allowed = sample.Causal
            ? Reference.Causal(sample.Queries, sample.Keys, sample.Alignment == CausalAlignment.BottomRight ? sample.Keys - sample.Queries : 0)
            : ones([sample.Queries, sample.Keys], ScalarType.Bool);
        if (sample.Mask == Mask.Bool)
            allowed = allowed.logical_and(mask.gt(0));

        // The formula gives NaN for rows without keys; ours gives 0, as here.
        Tensor p = matmul(View(q), View(k).transpose(2, 3)) / Math.Sqrt(sample.Dim) + (sample.Mask == Mask.Additive ? mask : zeros_like(mask));
        p = p.exp() * allowed.to(ScalarType.Float64);
        Tensor expected = matmul(p / p.sum(-1L, keepdim: true).clamp_min(1e-300), View(v));
        Tensor actual = flash.nn.functional.scaled_dot_product_attention(
            View(q), View(k), View(v), sample.Mask switch { Mask.None => null, Mask.Bool => mask.gt(0), _ => mask }, is_causal: sample.Causal, causal_alignment: sample.Alignment);
        TestData.Close(expected, actual, 1e-12, "O");

        Tensor c = TestData.Normal(sample.Seed + 4, expected.shape);
        Tensor[] expectedGradients = TestData.Gradients(expected, c, q, k, v), gradients = TestData.Gradients(actual, c, q, k, v);
        for (int i = 0; i < 3; i++)
            TestData.Close(expectedGradients[i], gradients[i], 1e-11, $"gradient {i}");
    }

    private static IEnumerable<Sample> Shrink(Sample sample)
    {
        if (sample.Batch > 1)
            yield return sample with { Batch = 1 };
        if (sample.Heads > 1)
            yield return sample with { Heads = 1 };
        foreach (int n in new[] { sample.Queries / 2, sample.Queries - 1 }.Where(n => n >= 0 && n < sample.Queries))
            yield return sample with { Queries = n };
        foreach (int n in new[] { sample.Keys / 2, sample.Keys - 1 }.Where(n => n >= 0 && n < sample.Keys))
            yield return sample with { Keys = n };
        if (sample.Dim > 1)
            yield return sample with { Dim = sample.Dim / 2 };
        if (sample.ValueDim > 1)
            yield return sample with { ValueDim = sample.ValueDim / 2 };
        if (sample.RowsBeforeHeads)
            yield return sample with { RowsBeforeHeads = false };
        if (sample.Mask != Mask.None)
            yield return sample with { Mask = Mask.None };
    }
}
