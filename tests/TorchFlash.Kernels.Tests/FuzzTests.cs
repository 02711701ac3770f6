using System.Numerics;
using FsCheck;
using FsCheck.Fluent;
using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests;

/// <summary>Random shapes, strides and options against the reference; a failure is shrunk to a small one.</summary>
public class FuzzTests
{
    private sealed record Sample(AttentionProblem Problem, Layout Inputs, Layout Outputs, int Threads, int Seed);

    /// <summary>Not <see cref="Layout.SharedRow"/>: sums of many equal terms round coherently, which the bar does not foresee.</summary>
    private static readonly Layout[] Readable = [.. Layouts.Writable, Layout.SharedHeads];

    private static Gen<Sample> Samples =>
        from batch in Gen.Choose(1, 2)
        from keyHeads in Gen.Choose(1, 3)
        from heads in Gen.Elements(keyHeads, keyHeads, 2 * keyHeads, 3 * keyHeads)
        from nq in Gen.OneOf(Gen.Choose(0, 40), Gen.Choose(1, 300))
        from nk in Gen.OneOf(Gen.Choose(0, 40), Gen.Choose(1, 300))
        from d in Gen.OneOf(Gen.Choose(1, 36), Gen.Choose(1, 140))
        from dv in Gen.OneOf(Gen.Constant(d), Gen.Choose(1, 80))
        from mask in Gen.Elements(Enum.GetValues<CausalMask>())
        from scale in Gen.Elements(1, 1, 1, -1, 0, 10.0)
        from inputs in Gen.Elements(Readable)
        from outputs in Gen.Elements(Layouts.Writable)
        from threads in Gen.Choose(0, 4)
        from seed in Gen.Choose(0, 1_000_000)
        let problem = new AttentionProblem
        {
            Batch = batch,
            Heads = heads,
            KeyHeads = heads == keyHeads ? 0 : keyHeads,
            QueryLength = nq,
            KeyLength = nk,
            HeadDim = d,
            ValueDim = dv,
            Scale = scale * AttentionProblem.DefaultScale(d),
            Causal = mask,
        }
        select new Sample(problem, inputs, outputs, threads, seed);

    [Fact]
    public void Float32() => Check<float>(seed: 20260101);

    [Fact]
    public void Float64() => Check<double>(seed: 20260102);

    [Theory]
    [InlineData(ElementType.BFloat16, 20261121)]
    [InlineData(ElementType.Float16, 20261122)]
    public void HalfWidth(ElementType type, ulong seed)
    {
        Config config = Config.QuickThrowOnFailure.WithMaxTest(150).WithReplay(seed, 1);
        Prop.ForAll(Arb.From(Samples, Shrink), sample =>
        {
            using var attention = new DeviceCase(new HostMemory(), sample.Problem with { ElementType = type }, sample.Inputs, sample.Outputs, sample.Seed);
            foreach (CpuEngine engine in Engines.Widths)
            {
                attention.PoisonOutputs();
                attention.Run(engine, Passes.All, threads: sample.Threads).AssertResults(Passes.All);
            }
        }).Check(config);
    }

    private static void Check<T>(ulong seed) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        Config config = Config.QuickThrowOnFailure.WithMaxTest(300).WithReplay(seed, 1); // the second number must be odd
        Prop.ForAll(Arb.From(Samples, Shrink), sample =>
        {
            using var attention = new AttentionCase<T>(sample.Problem, sample.Inputs, sample.Outputs, sample.Seed);
            Accuracy.AssertRunMatchesReference(attention, sample.Threads);
        }).Check(config);
    }

    /// <summary>Smaller and plainer problems.</summary>
    private static IEnumerable<Sample> Shrink(Sample sample)
    {
        AttentionProblem p = sample.Problem;
        foreach (int n in Smaller(p.Batch))
            yield return sample with { Problem = p with { Batch = n } };
        foreach (int n in Smaller(p.Heads))
            yield return sample with { Problem = p with { Heads = n, KeyHeads = 0 } };
        if (p.KeyHeads > 1)
            yield return sample with { Problem = p with { Heads = p.Heads / p.KeyHeads, KeyHeads = 1 } };
        foreach (int n in Smaller(p.QueryLength))
            yield return sample with { Problem = p with { QueryLength = n } };
        foreach (int n in Smaller(p.KeyLength))
            yield return sample with { Problem = p with { KeyLength = n } };
        foreach (int n in Smaller(p.HeadDim))
            yield return sample with { Problem = p with { HeadDim = n } };
        foreach (int n in Smaller(p.ValueDim))
            yield return sample with { Problem = p with { ValueDim = n } };
        if (sample.Inputs != Layout.Contiguous)
            yield return sample with { Inputs = Layout.Contiguous };
        if (sample.Outputs != Layout.Contiguous)
            yield return sample with { Outputs = Layout.Contiguous };
        if (sample.Threads != 1)
            yield return sample with { Threads = 1 };
    }

    private static IEnumerable<int> Smaller(int n) => new[] { 1, n / 2, n - 1 }.Where(m => m >= 1 && m < n).Distinct();
}
