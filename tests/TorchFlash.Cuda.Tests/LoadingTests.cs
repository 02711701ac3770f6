using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>What the process-wide engine loads, and when.</summary>
public class LoadingTests
{
    private static readonly (string, string)[] Emulated =
        [(LibrarySearch.DriverVariable, EmulatedGpu.LibraryPath), (LibrarySearch.NvrtcVariable, EmulatedGpu.LibraryPath)];

    [EmulatedFact]
    public void NothingBeforeSomebodyAsks() => Assert.DoesNotContain("mapped", ProcessProbe.Run("cpu", Emulated), StringComparison.Ordinal);

    [EmulatedTheory]
    [InlineData("describe")]
    [InlineData("engine")]
    public void WhatTheEnvironmentNames(string step)
    {
        string output = ProcessProbe.Run(step, Emulated);
        Assert.Contains("mapped", output, StringComparison.Ordinal);
        Assert.Contains("sm_90", output, StringComparison.Ordinal);
    }

    [EmulatedFact]
    public void DescriptionTellsAll()
    {
        using var folder = new TemporaryFolder();
        string text = ProcessProbe.Run("describe", [.. Emulated, (CubinCache.FolderVariable, folder.Path)]);
        foreach (string part in new[] { EmulatedGpu.LibraryPath, "sm_80", "sm_90", "sm_86", folder.Path, "12.4", "0 compiled", "0 out of the cache" })
            Assert.Contains(part, text, StringComparison.Ordinal);
    }

    [Fact]
    public void WhyItIsOff()
    {
        if (!OperatingSystem.IsLinux())
            return;
        foreach (string step in new[] { "describe", "engine" })
        {
            string text = ProcessProbe.Run(step, (LibrarySearch.DriverVariable, "/no/such/libcuda.so.1"));
            Assert.Contains("no CUDA driver", text, StringComparison.Ordinal);
            Assert.Contains("/no/such/libcuda.so.1 (TORCHFLASH_CUDA_DRIVER): not there", text, StringComparison.Ordinal);
        }
    }
}
