using System.Runtime.InteropServices;
using TorchFlash.Attention;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Scores;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>Which path takes what, and that the user is told.</summary>
public class RouteTests
{
    private static readonly Tensor s_mask = ones([5, 5], ScalarType.Bool);

    private static AttentionCall Call(ScalarType dtype, bool masked = false, double dropout = 0, CausalMask causal = CausalMask.None)
    {
        Tensor x = zeros([1, 2, 5, 4], dtype);
        return new(x, x, x, causal, score: masked ? ScoreProgram.Identity.mask(s_mask) : null, dropout: dropout);
    }

    private static AttentionRoute Route(AttentionCall call, bool needWeights = false) => call.Choose(new(Weights: needWeights), out _, out _);

    [Fact]
    public void EverythingOnTheCpuIsFused()
    {
        foreach (ScalarType dtype in new[] { ScalarType.Float32, ScalarType.Float64, ScalarType.Float16, ScalarType.BFloat16 })
        {
            foreach (CausalMask causal in Enum.GetValues<CausalMask>())
                Assert.Equal(AttentionRoute.Fused, Route(Call(dtype, causal: causal)));
            Assert.Equal(AttentionRoute.Fused, Route(Call(dtype), needWeights: true));
            Assert.Equal(AttentionRoute.Fused, Route(Call(dtype, masked: true, dropout: 0.1, causal: CausalMask.BottomRight), needWeights: true));
        }
    }

    [Fact]
    public void LibtorchGetsNoMoreThanOneMaskOnOtherDevices()
    {
        Tensor x = zeros([1, 2, 5, 4], device: META), none = zeros([1, 2, 0, 4], device: META), mask = ones([5, 5], ScalarType.Bool, META), bias = zeros([5, 5], device: META);
        ScoreProgram masked = ScoreProgram.Identity.mask(mask), biased = ScoreProgram.Identity.bias(bias);
        Assert.Equal(AttentionRoute.LibTorch, Of());
        Assert.Equal(AttentionRoute.LibTorch, Of(masked));
        Assert.Equal(AttentionRoute.LibTorch, Of(biased));
        Assert.Equal(AttentionRoute.LibTorch, Of(biased.then(masked).window(2, 2)));
        Assert.Equal(AttentionRoute.LibTorch, Of(causal: CausalMask.TopLeft));
        Assert.Equal(AttentionRoute.Composed, Of(masked, CausalMask.TopLeft));
        Assert.Equal(AttentionRoute.Composed, Of(biased.softcap(3)));
        Assert.Equal(AttentionRoute.Composed, Of(causal: CausalMask.BottomRight));
        Assert.Equal(AttentionRoute.Composed, Route(new(x, x, x), needWeights: true));
        Assert.Equal(AttentionRoute.Composed, Route(new(x, x, x, sinks: zeros([2], device: META))));
        Assert.Equal(AttentionRoute.Composed, new AttentionCall(x, x, x).Choose(new(LogSumExp: true), out _, out _));
        Assert.Equal(AttentionRoute.Composed, Route(new(x, none, none)));

        AttentionRoute Of(ScoreProgram? score = null, CausalMask causal = CausalMask.None) => Route(new(x, x, x, causal, score: score, dropout: 0.1));
    }

    [Fact]
    public void EnginesAreAskedForWhatNotAllOfThemHave()
    {
        Tensor x = zeros(1, 2, 5, 4), leaf = zeros(1, 2, 5, 4).requires_grad_(true), slopes = zeros(2).requires_grad_(true);
        ScoreProgram alibi = ScoreProgram.Identity.alibi(slopes);
        Assert.Equal((false, false), Of(new(x, x, x, score: ScoreProgram.Identity.alibi(slopes.detach())), new(true, LogSumExp: true)));
        Assert.Equal((false, true), Of(new(x, x, x), new(true, true)));
        Assert.Equal((false, false), Of(new(leaf, x, x), new(LogSumExp: true)));
        Assert.Equal((true, false), Of(new(x, x, x, score: alibi), new()));
        using (no_grad())
            Assert.Equal((false, false), Of(new(leaf, x, x, score: alibi), new(LogSumExp: true)));

        static (bool ScoreGradients, bool HeadWeights) Of(AttentionCall call, WantedResults wanted) => (call.Asked(wanted).HasScoreGradients, call.Asked(wanted).HasHeadWeights);
    }

    [Theory]
    [InlineData(ScalarType.Float16)]
    [InlineData(ScalarType.BFloat16)]
    public void HalfPrecisionOnTheCpuKeepsTheSemantics(ScalarType type)
    {
        Tensor empty = zeros([1, 2, 0, 4], type), x = ones([1, 2, 3, 4], type);
        TestData.Close(zeros_like(x), flash.nn.functional.scaled_dot_product_attention(x, empty, empty), 0);
        Tensor o = flash.nn.functional.scaled_dot_product_attention(x, x.narrow(2, 0, 1), x.narrow(2, 0, 1), is_causal: true, causal_alignment: CausalAlignment.BottomRight);
        TestData.Close(zeros([1, 2, 2, 4]), o.narrow(2, 0, 2), 0);
        TestData.Close(ones([1, 2, 1, 4]), o.narrow(2, 2, 1), 0);
        Assert.Equal(type, o.dtype);
    }

    /// <summary>What a composition in the type itself errs by is not exceeded, and O is no copy in another type.</summary>
    [Theory]
    [InlineData(ScalarType.Float16, false)]
    [InlineData(ScalarType.Float16, true)]
    [InlineData(ScalarType.BFloat16, false)]
    [InlineData(ScalarType.BFloat16, true)]
    public void HalfPrecisionOnTheCpuIsThatOfFloat64Rounded(ScalarType type, bool masked)
    {
        double unit = type == ScalarType.BFloat16 ? 1 / 256.0 : 1 / 2048.0;
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(2, 3, 90, 110, 8, 6, type);
        Tensor? bias = masked ? TestData.Normal(5, [3, 90, 110], type, requiresGrad: true) : null;
        Tensor o = flash.nn.functional.scaled_dot_product_attention(q, k, v, bias, scale: 0.3);
        (o * c).sum().backward();

        Tensor[] wide = [.. new[] { q, k, v }.Select(x => x.detach().to(ScalarType.Float64).requires_grad_(true))];
        Tensor? wideBias = bias?.detach().to(ScalarType.Float64).requires_grad_(true);
        Tensor expected = Reference.Attention(wide[0], wide[1], wide[2], scale: 0.3, bias: wideBias);
        (expected * c.to(ScalarType.Float64)).sum().backward();
        CloseTo(expected, o);
        foreach ((Tensor leaf, Tensor wideLeaf) in new[] { q, k, v }.Zip(wide))
            CloseTo(wideLeaf.grad!, leaf.grad!);
        if (masked)
            CloseTo(wideBias!.grad!, bias!.grad!);

        void CloseTo(Tensor exact, Tensor x)
        {
            Assert.Equal(type, x.dtype);
            TestData.Close(exact, x, 3 * unit * exact.abs().max().item<double>());
        }
    }

    [Fact]
    public void TheModuleTakesHalfPrecisionOnTheCpu()
    {
        Tensor x = TestData.Normal(1, [2, 5, 8], ScalarType.BFloat16);
        using Modules.MultiheadAttention module = flash.nn.MultiheadAttention(8, 2, batch_first: true);
        (Tensor expected, Tensor expectedWeights) = module.call(x.to(ScalarType.Float32), x.to(ScalarType.Float32), x.to(ScalarType.Float32));
        module.to(ScalarType.BFloat16);
        (Tensor output, Tensor weights) = module.call(x, x, x);
        Assert.Equal((ScalarType.BFloat16, ScalarType.BFloat16), (output.dtype, weights.dtype));
        TestData.Close(expected, output, 0.05);
        TestData.Close(expectedWeights, weights, 0.02);
    }

    [Fact]
    public void EveryWayRoundAnEngineIsSaidOnce()
    {
        IsSaidOnce(() => Call(ScalarType.Float32, masked: true).Attend());
        IsSaidOnce(() => Call(ScalarType.Float64, dropout: 0.1).Attend(new(Weights: true)));
        IsSaidOnce(() => Call(ScalarType.BFloat16).Attend());
        IsSaidOnce(() => Call(ScalarType.BFloat16, masked: true, dropout: 0.1).Attend());
        IsSaidOnce(() => Call(ScalarType.Float32).Attend(new(Weights: true)));

        static void IsSaidOnce(Action attend, params string[] messages) => Assert.Equal(messages, Warnings(() =>
        {
            attend();
            attend();
        }));
    }

    [Fact]
    public void AnotherDeviceIsNamedAsTheReason() => Assert.Equal(
        ["TorchFlash: libtorch's own attention is used, because there is no engine for tensors on META."], Warnings(OnAnotherDevice));

    [Fact]
    public void LibtorchsOwnAttentionIsRefusedWhereDeterminismIsAskedFor()
    {
        using (flash.use_deterministic_algorithms())
        {
            NotSupportedException exception = Assert.Throws<NotSupportedException>(OnAnotherDevice);
            Assert.Contains("there is no engine for tensors on META, and it need not be deterministic", exception.Message);
            using (flash.use_deterministic_algorithms(warn_only: true))
                Assert.Single(Warnings(OnAnotherDevice));
            Assert.Throws<NotSupportedException>(OnAnotherDevice);
        }
    }

    private static void OnAnotherDevice()
    {
        Tensor x = zeros([1, 2, 5, 4], device: META);
        try
        {
            new AttentionCall(x, x, x).Attend();
        }
        catch (ExternalException)
        {
            // An old libtorch has no attention for tensors without data; what is tested comes before it.
        }
    }

    internal static List<string> Warnings(Action action)
    {
        List<string> said = [];
        Action<string> before = flash.warn;
        flash.warn = said.Add;
        try
        {
            action();
        }
        finally
        {
            flash.warn = before;
        }
        return said;
    }

    [Fact]
    public void DescribeTellsTheEngineItsThreadsAndEveryPath()
    {
        string text = flash.describe();
        Assert.Contains(Kernels.Cpu.CpuEngine.Instance.Describe(), text);
        Assert.Contains($"threads   {get_num_threads()}", text);
        Assert.Contains(__version__, text);
        foreach (string word in new[] { "fused", "composed", "libtorch", "score programs", "sinks", "dropout", "float16", "bfloat16", "need_weights", "other devices" })
            Assert.Contains(word, text);
    }
}
