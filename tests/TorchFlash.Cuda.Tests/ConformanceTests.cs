using System.Globalization;
using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Files;

namespace TorchFlash.Cuda.Tests;

/// <summary>
/// The conformance kernel on the emulated GPU gives the words whose hashes a GPU is compared with (<see cref="Conformance"/>): whoever changes
/// the kernel or the emulation sees here which primitive now does something else.
/// </summary>
public class ConformanceTests
{
    [EmulatedTheory]
    [InlineData(0)] // sm_80
    [InlineData(1)] // sm_90
    [InlineData(2)] // sm_86
    public void The_emulation_gives_the_expected_words_whatever_the_schedule(int ordinal)
    {
        var device = new CudaDevice(EmulatedGpu.Driver, ordinal);
        for (int seed = 0; seed < 3; seed++)
        {
            EmulatedGpu.Set("seed", seed);
            IReadOnlyList<ConformanceSection> sections = Conformance.Run(device, EmulatedGpu.Nvrtc, out IReadOnlyList<string> complaints);
            Assert.Empty(complaints);
            Assert.True(sections.All(s => s.Conforms), "These sections differ; the table in Conformance.Expected.cs would have to say:" + Environment.NewLine
                + string.Join(Environment.NewLine, sections.Where(s => !s.Conforms).Select(s => string.Create(CultureInfo.InvariantCulture, $"[\"{s.Name}\"] = 0x{s.Hash:x16},"))));
        }
        EmulatedGpu.Set("seed", 0);
    }

    /// <summary>NVIDIA's compiler takes it, and has nothing to say.</summary>
    [NvrtcTheory]
    [InlineData("sm_80")]
    [InlineData("sm_90a")]
    public void The_real_compiler_takes_it(string target)
    {
        var compiler = new KernelCompiler(Conformance.Sources, RealNvrtc.Instance!, new DiskCache(null));
        compiler.Image(Conformance.Variant(target, 101376), out _);
        Assert.Empty(compiler.Warnings);
    }

    [Fact]
    public void Every_section_has_an_expected_hash_and_no_other_has()
    {
        IReadOnlyList<string> all = Conformance.Sections(hopper: true);
        Assert.Equal(all.Order(StringComparer.Ordinal), Conformance.Expected.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(all.Take(Conformance.Sections(hopper: false).Count), Conformance.Sections(hopper: false));
    }

    [Fact]
    public void Sections_are_more_than_zeros()
    {
        // All-zero words of any length have few hashes, which would pass on a GPU that did nothing.
        for (int length = 1; length <= 32768; length *= 2)
            Assert.DoesNotContain(new ConformanceSection("", new uint[length], 0).Hash, Conformance.Expected.Values);
    }
}
