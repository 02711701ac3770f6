using TorchFlash.Kernels.Cuda;
using Xunit.Sdk;

namespace TorchFlash.Cuda.Tests;

/// <summary>A bug put into a kernel's source on purpose, which the emulation or the comparison with the reference must find.</summary>
internal static class PlantedBug
{
    /// <summary>The sources with a text of one file, which must occur exactly once, replaced.</summary>
    public static KernelSources In(string file, string text, string replacement)
    {
        string source = KernelSources.Embedded[file];
        int first = source.IndexOf(text, StringComparison.Ordinal);
        if (first < 0 || source.IndexOf(text, first + 1, StringComparison.Ordinal) >= 0)
            Assert.Fail($"'{text}' occurs {(first < 0 ? "nowhere" : "more than once")} in {file}: the planted bug must be planted anew.");
        return KernelSources.Embedded.With(file, source.Replace(text, replacement, StringComparison.Ordinal));
    }

    /// <summary>At least one of the checks must fail with the changed sources. Returns how.</summary>
    /// <param name="file">The source.</param>
    /// <param name="text">What is replaced; it must occur exactly once.</param>
    /// <param name="replacement">The bug.</param>
    /// <param name="checks">Checks that pass with the sources as they are.</param>
    public static string AssertCaught(string file, string text, string replacement, params Action<KernelSources>[] checks)
    {
        KernelSources sources = In(file, text, replacement);
        foreach (Action<KernelSources> check in checks)
        {
            try
            {
                check(sources);
            }
            catch (CudaCompilationException e)
            {
                Assert.Fail($"The planted bug does not compile: {e.Message}");
            }
            catch (Exception e) when (e is CudaException or MismatchException or XunitException)
            {
                return e.Message;
            }
        }
        throw new XunitException($"Nobody noticed that '{text}' in {file} had become '{replacement}'.");
    }
}
