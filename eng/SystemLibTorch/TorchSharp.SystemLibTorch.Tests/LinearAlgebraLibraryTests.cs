using TorchSharp;

namespace TorchSharpTests;

public class LinearAlgebraLibraryTests
{
    [Theory]
    [InlineData("/usr/lib/x86_64-linux-gnu/blas/libblas.so.3.11.0", "reference BLAS")]
    [InlineData("/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblasp-r0.3.21.so", "pthread build of OpenBLAS")]
    [InlineData("/usr/lib/x86_64-linux-gnu/openblas-openmp/libblas.so.3", null)]
    [InlineData("/opt/torch/lib/libmkl_core.so", null)]
    public void SlowLibrariesAreToldApart(string path, string? expected)
    {
        string? complaint = LinearAlgebraLibrary.Complaint(["7f00-7f01 r-xp 00000000 08:01 1 ", $"7f02-7f03 r-xp 00000000 08:01 2    {path}"]);
        if (expected is null)
        {
            Assert.Null(complaint);
        }
        else
        {
            Assert.Contains(expected, complaint);
        }
    }
}
