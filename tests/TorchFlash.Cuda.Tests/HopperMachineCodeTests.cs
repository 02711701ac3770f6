using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Files;

namespace TorchFlash.Cuda.Tests;

/// <summary>What the Hopper kernels rely on the compiler for, read from the machine code that NVIDIA's compiler makes of them.</summary>
public class HopperMachineCodeTests
{
    private const string Forward = "forward_hopper", Backward = "backward_hopper";

    /// <summary>
    /// The exponentials of a tile run while O += P V of the tile before is under way: between the wait for the scores and the wait for O
    /// (hold_back). No register is spilled in the loop, and few descriptors are carried to uniform registers.
    /// </summary>
    [NvrtcTheory]
    [InlineData(32, true)]
    [InlineData(64, false)]
    [InlineData(64, true)]
    [InlineData(96, true)]
    [InlineData(128, false)]
    [InlineData(128, true)]
    [InlineData(192, true)]
    [InlineData(256, false)]
    public void SoftmaxOverlapsTheProductWithV(int d, bool causal)
    {
        Instruction[] loop = MainLoop(Forward, d, causal);
        Assert.Equal([Instruction.Product, Instruction.Wait, Instruction.Exponential, Instruction.Wait], Order(loop));
        Assert.DoesNotContain(Instruction.Spill, loop);
        Assert.InRange(loop.Count(i => i == Instruction.ToUniform), 0, 8);
    }

    /// <summary>P of a tile is computed while dK of the tile before and dP are under way: before the first wait of the loop.</summary>
    [NvrtcTheory]
    [InlineData(128, false)]
    [InlineData(128, true)]
    public void ProbabilitiesOverlapTheProductsBeforeThem(int d, bool causal)
    {
        Instruction[] loop = MainLoop(Backward, d, causal);
        Assert.Equal([Instruction.Product, Instruction.Exponential, Instruction.Wait], Order(loop).Take(3));
        Assert.Equal(1, Order(loop).Count(i => i == Instruction.Exponential));
    }

    [NvrtcTheory]
    [InlineData(64, false)]
    [InlineData(64, true)]
    [InlineData(128, false)]
    [InlineData(128, true)]
    [InlineData(192, true)]
    [InlineData(256, false)]
    [InlineData(256, true)]
    public void BackwardLoopsNeitherSpillNorCarryDescriptors(int d, bool causal)
    {
        Instruction[] loop = MainLoop(Backward, d, causal);
        Assert.DoesNotContain(Instruction.Spill, loop);
        Assert.InRange(loop.Count(i => i == Instruction.ToUniform), 0, 20);
    }

    /// <summary>The compiler does move exponentials behind the wait where nothing holds them back: the test above would see it.</summary>
    [NvrtcFact]
    public void WithoutHoldBackSoftmaxWaits()
    {
        KernelSources changed = PlantedBug.In(Forward + ".cu", "hold_back(softmax.sum[0] + softmax.sum[1]);", "");
        Assert.NotEqual([Instruction.Product, Instruction.Wait, Instruction.Exponential, Instruction.Wait], Order(MainLoop(Forward, 128, true, changed)));
    }

    /// <summary>A product whose accumulators are read too early is made serial, without an error; a kernel out of the cache still tells.</summary>
    [NvrtcFact]
    public void SerialisedProductsAreNoticed()
    {
        using var folder = new TemporaryFolder();
        KernelSources changed = PlantedBug.In(Forward + ".cu", "wgmma_wait<0>();\n    output_done();\n    accumulator", "output_done();\n    accumulator");
        for (int i = 0; i < 2; i++)
        {
            var compiler = new KernelCompiler(changed, RealNvrtc.Instance!, new DiskCache(folder.Path));
            Assert.True(Cubin.Is(compiler.Image(Variant(Forward, 128, true), out bool isCached)));
            Assert.Equal(i > 0, isCached);
            Assert.Contains("(C75", Assert.Single(CompilerLog.Complaints(Assert.Single(compiler.Warnings).Log)), StringComparison.Ordinal);
        }
    }

    /// <summary>Runs of equal instructions, without those that do not matter here.</summary>
    private static Instruction[] Order(Instruction[] loop)
    {
        Instruction[] kept = [.. loop.Where(i => i is Instruction.Product or Instruction.Exponential or Instruction.Wait)];
        return [.. kept.Where((x, i) => i == 0 || kept[i - 1] != x)];
    }

    private static Instruction[] MainLoop(string kernel, int d, bool causal, KernelSources? sources = null)
    {
        KernelVariant variant = Variant(kernel, d, causal);
        var compiler = new KernelCompiler(sources ?? KernelSources.Embedded, RealNvrtc.Instance!, new DiskCache(null));
        return MachineCode.MainLoop(compiler.Image(variant, out _), variant.EntryPoint);
    }

    private static KernelVariant Variant(string kernel, int d, bool causal)
    {
        var choice = new KernelChoice(new KernelTarget("sm_90a", 90, 232448, HasTensorMaps: true), KernelTuning.None);
        return choice.Variants(HopperForwardTests.Small with { HeadDim = d, ValueDim = d, Causal = causal ? CausalMask.TopLeft : CausalMask.None }, default)
            .Single(v => v.Kernel == kernel);
    }
}
