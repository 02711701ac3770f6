using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using TorchFlash.Kernels.Cpu;

namespace TorchFlash.Kernels.Tests;

/// <summary>The engine takes the fastest registers that the processor and the runtime's settings allow, or those that it is told to take.</summary>
public class VectorWidthTests
{
    [Fact]
    public void SupportedAreTheWidthsOfTheProcessorAsTheRuntimeIsSet()
    {
        int widest = IsOff("EnableHWIntrinsic") ? 0
            : Avx512DQ.IsSupported && !IsOff("EnableAVX512") ? 512
            : Avx2.IsSupported && Fma.IsSupported && !IsOff("EnableAVX2") && !IsOff("EnableAVX") ? 256
            : 128;
        Assert.Equal(new[] { 512, 256, 128, 0 }.Where(bits => bits <= widest), VectorWidth.Supported);
    }

    [Fact]
    public void TheEngineSaysWhatItTakesAndWhy()
    {
        VectorWidth width = VectorWidth.Choose();
        Assert.Contains(CpuEngine.Instance.VectorBits, VectorWidth.Supported);
        Assert.Contains(CpuEngine.Instance.VectorBits == 0 ? "scalar" : $"{CpuEngine.Instance.VectorBits}-bit", CpuEngine.Instance.Describe(), StringComparison.Ordinal);
        if (Vector512.IsHardwareAccelerated || VectorWidth.Supported.First() < 512)
            Assert.Contains($"({width.Reason})", CpuEngine.Instance.Describe(), StringComparison.Ordinal);
    }

    [Fact]
    public void WhatTheRuntimePrefersIsTakenUnmeasured()
    {
        VectorWidth width = VectorWidth.Choose(null, isPreferred: true, () => throw new InvalidOperationException("measured"));
        Assert.Equal(VectorWidth.Supported.First(), width.Bits);
    }

    [Theory]
    [InlineData(1.76, 512)]
    [InlineData(0.97, 512)]
    [InlineData(0.85, 256)]
    public void OtherwiseAMeasurementDecides(double speed, int expected)
    {
        VectorWidth width = VectorWidth.Choose("", isPreferred: false, () => speed);
        if (VectorWidth.Supported.First() < 512)
        {
            Assert.Equal(VectorWidth.Supported.First(), width.Bits);
            return;
        }
        Assert.Equal(expected, width.Bits);
        Assert.Contains($"{speed:F2} times", width.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void TheMeasurementComparesLikeWithLike()
    {
        if (VectorWidth.Supported.First() == 512)
            Assert.InRange(VectorWidth.SpeedOf512(), 0.3, 4);
    }

    [Fact]
    public void TheEnvironmentSetsIt()
    {
        foreach (int bits in VectorWidth.Supported)
        {
            VectorWidth width = VectorWidth.Choose($" {bits}", isPreferred: false, () => throw new InvalidOperationException("measured"));
            Assert.Equal(bits, width.Bits);
            Assert.Contains(VectorWidth.Variable, width.Reason, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("300")]
    [InlineData("wide")]
    [InlineData("1024")]
    [InlineData("-512")]
    public void WhatTheEnvironmentCannotMeanIsRefused(string value)
        => Assert.Contains($"{VectorWidth.Variable} is \"{value}\"", Assert.Throws<ArgumentException>(() => VectorWidth.Choose(value, true, () => 1)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData(-1)]
    [InlineData(64)]
    [InlineData(1024)]
    public void UnknownWidthsAreRefused(int bits) =>
        Assert.Equal("vectorBits", Assert.Throws<ArgumentOutOfRangeException>(() => new CpuEngine(bits)).ParamName);

    private static bool IsOff(string setting) => Environment.GetEnvironmentVariable($"DOTNET_{setting}") == "0";
}
