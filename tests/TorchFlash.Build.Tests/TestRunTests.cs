namespace TorchFlash.Build.Tests;

public sealed class TestRunTests
{
    [Theory]
    [InlineData(nameof(TorchSharpProvider.NuGet), false)]
    [InlineData(nameof(TorchSharpProvider.SystemLibTorch), true)]
    public void RunsTheProvidersTestsOnlyWhereItIsBuiltAgainst(string provider, bool runs)
    {
        var names = TestRun.All(Enum.Parse<TorchSharpProvider>(provider)).Select(run => run.Name).ToList();

        Assert.Equal(runs, names.Contains("TorchSharp.SystemLibTorch.Tests"));
        Assert.Contains("TorchFlash.Tests", names);
        Assert.Contains("TorchFlash.Kernels.Tests (no AVX-512)", names);
    }
}
