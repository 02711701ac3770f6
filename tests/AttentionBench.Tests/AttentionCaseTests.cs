using AttentionBench.Contestants;
using TorchFlash.Kernels;
using static TorchSharp.torch;

namespace AttentionBench.Tests;

public class AttentionCaseTests
{
    private static AttentionCase Small { get; } = new() { Batch = 2, Heads = 2, KeyHeads = 2, Queries = 40, Keys = 40, Dim = 16, ValueDim = 16 };

    [Fact]
    public void PairsAreThoseThatCausalityAndWindowLeave()
    {
        Assert.Equal(1600, Small.Pairs);
        Assert.Equal(820, (Small with { Causal = true }).Pairs);
        Assert.Equal(820 - 36 * 37 / 2, (Small with { Window = 4 }).Pairs);
        Assert.Equal(30 * 40 - 30 * 29 / 2, (Small with { Queries = 40, Keys = 30, Causal = true }).Pairs + 0);
    }

    [Fact]
    public void OperationsAreFourTimesPairsTimesDimForwardAndTenBackward()
    {
        Assert.Equal(4.0 * 2 * 2 * 1600 * 16, Small.Flop(Pass.Forward));
        Assert.Equal(10.0 * 2 * 2 * 1600 * 16, Small.Flop(Pass.Backward));
        Assert.Equal(Small.Flop(Pass.Forward) + Small.Flop(Pass.Backward), Small.Flop(Pass.Both));
    }

    public static TheoryData<string> Features { get; } = ["plain", "causal", "padding", "full mask", "mask and bias", "bias gradient", "window", "window and bias", "grouped", "other value dim", "other keys", "dropout", "float64", "bfloat16"];

    /// <summary>All contestants that take a case compute the same, whatever each makes of its masks, and can be differentiated.</summary>
    [Theory]
    [MemberData(nameof(Features))]
    public void ContestantsComputeTheSame(string feature)
    {
        AttentionCase c = feature switch
        {
            "plain" => Small,
            "causal" => Small with { Causal = true },
            "padding" => Small with { Mask = MaskKind.Padding, Causal = true },
            "full mask" => Small with { Mask = MaskKind.Full, Causal = true },
            "mask and bias" => Small with { Mask = MaskKind.Full, Bias = BiasKind.Constant },
            "bias gradient" => Small with { Bias = BiasKind.Gradient, Causal = true },
            "window" => Small with { Window = 7, Mask = MaskKind.Full },
            "window and bias" => Small with { Window = 7, Bias = BiasKind.Gradient },
            "grouped" => Small with { KeyHeads = 1, Causal = true },
            "other value dim" => Small with { ValueDim = 24 },
            "other keys" => Small with { Keys = 56, Mask = MaskKind.Padding },
            "dropout" => Small with { Dropout = 0.2 },
            "float64" => Small with { Type = ElementType.Float64 },
            "bfloat16" => Small with { Type = ElementType.BFloat16 },
            _ => throw new ArgumentOutOfRangeException(nameof(feature), feature, null),
        };
        using var scope = NewDisposeScope();
        Workload[] workloads = [.. Contestant.All.Where(x => x.Refusal(c) is null).Select(x => new Workload(x, c))];
        Assert.True(workloads.Length >= 3);
        foreach (Workload w in workloads)
        {
            Workload baseline = workloads.Single(b => b.Contestant.Name == w.Contestant.Baseline);
            Assert.InRange(baseline.Difference(w), 0, Workload.Agreement(c.Type));
            Assert.All(Enum.GetValues<Pass>(), pass => Assert.True(w.Run(pass) > 0));
        }
    }

    [Fact]
    public void ModulesRefuseWhatTheyHaveNoArgumentFor()
    {
        Assert.NotNull(Contestant.Named(Contestant.TorchModule).Refusal(Small with { Window = 4 }));
        Assert.NotNull(Contestant.Named(Contestant.FlashModule).Refusal(Small with { KeyHeads = 1 }));
        Assert.Null(Contestant.Named(Contestant.Flash).Refusal(Small with { KeyHeads = 1, Window = 4 }));
    }
}
