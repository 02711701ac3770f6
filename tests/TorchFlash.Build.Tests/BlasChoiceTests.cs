namespace TorchFlash.Build.Tests;

public sealed class BlasChoiceTests
{
    [Theory]
    [InlineData("/usr/lib/x86_64-linux-gnu/blas/libblas.so.3", "reference BLAS")]
    [InlineData("/usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3", "3 to 5 times slower")]
    [InlineData("/usr/lib/aarch64-linux-gnu/openblas-serial/libblas.so.3", "all cores but one")]
    [InlineData("/usr/lib/x86_64-linux-gnu/atlas/libblas.so.3", "ATLAS")]
    public void SaysWhatASlowBlasCosts(string library, string warning) =>
        Assert.Contains(warning, new BlasChoice(library).Warning, StringComparison.Ordinal);

    [Theory]
    [InlineData("/usr/lib/x86_64-linux-gnu/openblas-openmp/libblas.so.3")]
    [InlineData("/usr/lib/x86_64-linux-gnu/libmkl_rt.so")]
    public void AcceptsAFastBlas(string library) => Assert.True(new BlasChoice(library).IsFast);
}
