using System.Runtime.InteropServices;
using TorchFlash.Attention;
using TorchFlash.Kernels;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>Which path takes what, and that the user is told.</summary>
public class RouteTests
{
    private static AttentionCall Call(ScalarType dtype, bool masked = false, double dropout = 0, CausalMask causal = CausalMask.None)
    {
        Tensor x = zeros([1, 2, 5, 4], dtype);
        return new() { Query = x, Key = x, Value = x, Scale = 0.5, Dropout = dropout, Causal = causal, Allowed = masked ? ones([5, 5], ScalarType.Bool) : null };
    }

    [Fact]
    public void PlainFloatAttentionIsFusedAndTheRestIsNot()
    {
        foreach (ScalarType dtype in new[] { ScalarType.Float32, ScalarType.Float64 })
        {
            foreach (CausalMask causal in Enum.GetValues<CausalMask>())
                Assert.Equal(AttentionRoute.Fused, Call(dtype, causal: causal).Route);
            Assert.Equal(AttentionRoute.Composed, Call(dtype, masked: true).Route);
            Assert.Equal(AttentionRoute.Composed, Call(dtype, dropout: 0.1).Route);
        }
        Assert.Equal(AttentionRoute.LibTorch, Call(ScalarType.BFloat16).Route);
        Assert.Equal(AttentionRoute.LibTorch, Call(ScalarType.BFloat16, causal: CausalMask.TopLeft).Route);
        Assert.Equal(AttentionRoute.Composed, Call(ScalarType.BFloat16, causal: CausalMask.BottomRight).Route);
        Assert.Equal(AttentionRoute.Composed, Call(ScalarType.BFloat16, masked: true).Route);
        Assert.Equal(AttentionRoute.Composed, Call(ScalarType.BFloat16, dropout: 0.1).Route);
    }

    [Fact]
    public void LibtorchGetsNoMoreThanOneMaskOnOtherDevices()
    {
        Tensor x = zeros([1, 2, 5, 4], device: META);
        Tensor allowed = ones([5, 5], ScalarType.Bool), bias = zeros(5, 5);
        Assert.Equal(AttentionRoute.LibTorch, Route(null, null));
        Assert.Equal(AttentionRoute.LibTorch, Route(allowed, null));
        Assert.Equal(AttentionRoute.LibTorch, Route(null, bias));
        Assert.Equal(AttentionRoute.LibTorch, Route(null, null, CausalMask.TopLeft));
        Assert.Equal(AttentionRoute.Composed, Route(allowed, bias));
        Assert.Equal(AttentionRoute.Composed, Route(allowed, null, CausalMask.TopLeft));
        Assert.Equal(AttentionRoute.Composed, Route(null, null, CausalMask.BottomRight));

        AttentionRoute Route(Tensor? allowed, Tensor? bias, CausalMask causal = CausalMask.None) =>
            new AttentionCall { Query = x, Key = x, Value = x, Scale = 0.5, Allowed = allowed, Bias = bias, Causal = causal, Dropout = 0.1 }.Route;
    }

    [Fact]
    public void HalfPrecisionKeepsTheSemantics()
    {
        Tensor empty = zeros([1, 2, 0, 4], ScalarType.BFloat16), x = ones([1, 2, 3, 4], ScalarType.BFloat16);
        TestData.Close(zeros_like(x), flash.nn.functional.scaled_dot_product_attention(x, empty, empty), 0);
        Tensor o = flash.nn.functional.scaled_dot_product_attention(x, x.narrow(2, 0, 1), x.narrow(2, 0, 1), is_causal: true, causal_alignment: CausalAlignment.BottomRight);
        TestData.Close(zeros([1, 2, 2, 4]), o.narrow(2, 0, 2), 0);
        TestData.Close(ones([1, 2, 1, 4]), o.narrow(2, 2, 1), 0);
    }

    [Fact]
    public void FallingBackToLibtorchIsSaidOnce()
    {
        (Tensor q, Tensor k, Tensor v, _) = TestData.Operands(1, 2, 9, 9, 8, 8, ScalarType.BFloat16, requiresGrad: false);
        Tensor expected = Reference.Attention(q.to(ScalarType.Float32), k.to(ScalarType.Float32), v.to(ScalarType.Float32), 0.3, Reference.Causal(9, 9));
        List<string> said = Warnings(() =>
        {
            for (int i = 0; i < 2; i++)
                TestData.Close(expected, flash.nn.functional.scaled_dot_product_attention(q, k, v, is_causal: true, scale: 0.3), 0.05);
        });
        string message = Assert.Single(said);
        Assert.StartsWith("TorchFlash: libtorch's own attention is used, because ElementType is BFloat16", message);
    }

    [Fact]
    public void ComposingForWantOfAnEngineIsSaidOnce()
    {
        Tensor none = zeros([1, 2, 0, 4], ScalarType.BFloat16), x = zeros([1, 2, 5, 4], ScalarType.BFloat16);
        AttentionCall[] calls =
        [
            Call(ScalarType.BFloat16, causal: CausalMask.BottomRight),
            Call(ScalarType.BFloat16, masked: true),
            Call(ScalarType.BFloat16, masked: true, causal: CausalMask.TopLeft),
            Call(ScalarType.BFloat16, dropout: 0.1),
            new() { Query = x, Key = none, Value = none, Scale = 0.5 },
        ];
        foreach (AttentionCall call in calls)
            IsSaidOnce(() => call.Attend());
        IsSaidOnce(() => Call(ScalarType.BFloat16).AttendWithWeights());

        static void IsSaidOnce(Action attend)
        {
            string message = Assert.Single(Warnings(() =>
            {
                attend();
                attend();
            }));
            Assert.StartsWith("TorchFlash: composed of libtorch operators, O(Nq Nk) memory, because libtorch's own attention does not fit either and ElementType is BFloat16", message);
        }
    }

    [Fact]
    public void WhatAnEngineTakesAndDocumentedCompositionsSayNothing() => Assert.Empty(Warnings(() =>
    {
        Call(ScalarType.Float32).AttendWithWeights();
        Call(ScalarType.Float32, masked: true).AttendWithWeights();
        Call(ScalarType.Float64, masked: true, dropout: 0.1).Attend();
    }));

    [Fact]
    public void AnotherDeviceIsNamedAsTheReason()
    {
        Tensor x = zeros([1, 2, 5, 4], device: META);
        AttentionCall call = new() { Query = x, Key = x, Value = x, Scale = 0.5 };
        List<string> said = Warnings(() =>
        {
            try
            {
                call.Attend();
            }
            catch (ExternalException)
            {
                // An old libtorch has no attention for tensors without data; what is tested comes before it.
            }
        });
        Assert.Equal(["TorchFlash: libtorch's own attention is used, because there is no engine for tensors on META."], said);
    }

    private static List<string> Warnings(Action action)
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
        Assert.Contains(TorchFlash.Kernels.Cpu.CpuEngine.Instance.Describe(), text);
        Assert.Contains($"threads   {get_num_threads()}", text);
        Assert.Contains(__version__, text);
        foreach (string word in new[] { "fused", "composed", "libtorch", "attn_mask", "key_padding_mask", "dropout", "float16", "bfloat16", "need_weights", "other devices" })
            Assert.Contains(word, text);
    }
}
