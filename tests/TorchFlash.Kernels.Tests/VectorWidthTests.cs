using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using TorchFlash.Kernels.Cpu;

namespace TorchFlash.Kernels.Tests;

/// <summary>The engine takes the widest registers that the processor and the runtime's settings allow.</summary>
public class VectorWidthTests
{
    [Fact]
    public void WidthFollowsTheRuntimeSettings()
    {
        int expected = IsOff("EnableHWIntrinsic") ? 0
            : Vector512.IsHardwareAccelerated && !IsOff("EnableAVX512") ? 512
            : Avx2.IsSupported && Fma.IsSupported && !IsOff("EnableAVX2") && !IsOff("EnableAVX") ? 256
            : 128;
        Assert.Equal(expected, CpuEngine.Instance.VectorBits);
        Assert.Contains(expected == 0 ? "scalar" : $"{expected}-bit", CpuEngine.Instance.Describe(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(64)]
    [InlineData(1024)]
    public void UnknownWidthsAreRefused(int bits) =>
        Assert.Equal("vectorBits", Assert.Throws<ArgumentOutOfRangeException>(() => new CpuEngine(bits)).ParamName);

    private static bool IsOff(string setting) => Environment.GetEnvironmentVariable($"DOTNET_{setting}") == "0";
}
