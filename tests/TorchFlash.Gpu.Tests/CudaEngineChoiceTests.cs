using TorchFlash.Attention;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cuda;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Gpu.Tests;

/// <summary>Which engine CUDA tensors get, what is compiled beforehand, and what describe() tells.</summary>
public class CudaEngineChoiceTests
{
    [EmulatedFact]
    public void ADeviceHasItsOwnEngine()
    {
        var engine = Assert.IsType<CudaEngine>(Engines.For(DeviceType.CUDA, 1, out _));
        Assert.Equal(1, engine.Device);
        Assert.Same(engine, Engines.For(DeviceType.CUDA, 1, out _));
        Assert.Null(Engines.For(DeviceType.CUDA, 7, out string reason));
        Assert.Contains("there is no CUDA device 7", reason);
    }

    [EmulatedFact]
    public void KernelsCanBeCompiledBeforehand()
    {
        (IReadOnlyList<string> kernels, TimeSpan time) = flash.precompile(ScalarType.BFloat16, 64, is_causal: true);
        Assert.Equal(4, kernels.Count);
        Assert.Contains(kernels, k => k.StartsWith("forward_mma sm_80", StringComparison.Ordinal));
        Assert.True(time > TimeSpan.Zero);
        (kernels, _) = flash.precompile(ScalarType.Float32, 40, 24, backward: false, need_weights: true, device: new torch.Device(DeviceType.CUDA, 1));
        Assert.Equal(["forward_exact", "weights"], kernels.Select(k => k.Split(' ')[0]));
        Assert.Empty(flash.precompile(ScalarType.Float32, 40, device: CPU).kernels);
    }

    [EmulatedFact]
    public void WhatCannotBeCompiledIsRefused()
    {
        Assert.Equal("dtype", Assert.Throws<ArgumentException>(() => flash.precompile(ScalarType.Int32, 64)).ParamName);
        Assert.Equal("head_dim", Assert.Throws<ArgumentException>(() => flash.precompile(ScalarType.Float32, 0)).ParamName);
        Assert.Equal("value_dim", Assert.Throws<ArgumentException>(() => flash.precompile(ScalarType.Float32, 8, -1)).ParamName);
        Assert.Contains("HeadDim is 300", Assert.Throws<NotSupportedException>(() => flash.precompile(ScalarType.Float32, 300)).Message);
        Assert.Contains("no CUDA device 9", Assert.Throws<NotSupportedException>(() => flash.precompile(ScalarType.Float32, 64, device: new torch.Device(DeviceType.CUDA, 9))).Message);
    }

    [EmulatedFact]
    public void DescribeTellsDeviceCompilerAndCache()
    {
        flash.precompile(ScalarType.BFloat16, 32, backward: false);
        string text = flash.describe();
        foreach (string part in (string[])["emulated GPU", "sm_90", EmulatedLibrary.Path, "nvrtc", "cache", "kernels", "compiled in", "out of the cache"])
            Assert.Contains(part, text);
    }
}
