using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Files;

namespace TorchFlash.Cuda.Tests;

/// <summary>What the process-wide engine loads, and when.</summary>
public class LoadingTests
{
    private static readonly (string, string)[] Emulated =
        [(LibrarySearch.DriverVariable, EmulatedLibrary.Path), (LibrarySearch.NvrtcVariable, EmulatedLibrary.Path)];

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
        string text = ProcessProbe.Run("describe", [.. Emulated, (DiskCache.FolderVariable, folder.Path)]);
        foreach (string part in new[] { EmulatedLibrary.Path, "sm_80", "sm_90", "sm_86", folder.Path, "12.4", "0 compiled", "0 out of the cache" })
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

    /// <summary>
    /// The libraries under the names that Linux packages of libtorch give them: NVRTC opens its built-in headers by another name than the
    /// file has, in a folder where the loader does not look, and finds them all the same, because they have been loaded before.
    /// </summary>
    [NvrtcFact]
    public void CompilerUnderHashedNames()
    {
        string nvrtc = RealNvrtc.Instance!.Path;
        string? builtins = new LibrarySearch().BuiltinsOf(nvrtc, RealNvrtc.Instance.Version);
        if (builtins is null || !OperatingSystem.IsLinux())
            return; // found by the loader: not known where
        using var folder = new TemporaryFolder();
        File.Copy(nvrtc, folder["libtorch", "lib", "libnvrtc-b51b459d.so.12"]);
        (string, string)[] variables = [(LibrarySearch.NvrtcVariable, ""), ("LIBTORCH_DIR", folder["libtorch"])];
        Assert.Contains("builtins", ProcessProbe.Run("compile", variables), StringComparison.Ordinal); // the reason why it fails without them
        File.Copy(builtins, folder["libtorch", "lib", $"libnvrtc-builtins-6c5639ce.so.{RealNvrtc.Instance.Version}"]);
        string output = ProcessProbe.Run("compile", variables);
        Assert.Contains("compiled", output, StringComparison.Ordinal);
        Assert.Contains("libnvrtc-b51b459d.so.12", output, StringComparison.Ordinal);
        Assert.Contains("libnvrtc-builtins-6c5639ce.so", output, StringComparison.Ordinal);
    }
}
