using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>The forward kernel for Hopper (forward_hopper.cu), run by the emulation on a device with three multiprocessors, against the reference.</summary>
public class HopperForwardTests
{
    internal const string Kernel = "forward_hopper";

    internal static readonly AttentionProblem Small = new()
    {
        Batch = 1,
        Heads = 2,
        QueryLength = 97,
        KeyLength = 113,
        HeadDim = 64,
        ValueDim = 64,
        Scale = 0.125,
        ElementType = ElementType.BFloat16,
    };

    [EmulatedFact]
    public void AlignedOperandsTakeThisKernel()
    {
        CudaEngine engine = EmulatedDevices.Engine(EmulatedDevices.Hopper);
        Assert.Equal([Kernel], engine.Variants(Small, new PrecompileOptions { ForwardOnly = true }).Select(v => v.Kernel));
        Assert.Equal(["forward_mma"], engine.Variants(Small with { HeadDim = 60 }, new PrecompileOptions { ForwardOnly = true }).Select(v => v.Kernel));
    }

    /// <summary>Around the edges of tiles of 192 x 128 and of warpgroups of 64 rows; causal also with rows that see no key and tiles that no row sees whole.</summary>
    [EmulatedTheory]
    [InlineData(1, 1)]
    [InlineData(1, 300)]
    [InlineData(63, 64)]
    [InlineData(64, 63)]
    [InlineData(65, 129)]
    [InlineData(97, 113)]
    [InlineData(130, 70)]
    [InlineData(33, 200)]
    [InlineData(192, 128)]
    [InlineData(193, 257)]
    [InlineData(257, 203)]
    [InlineData(600, 100)]
    [InlineData(320, 640)]
    public void Sizes(int queryLength, int keyLength)
    {
        AttentionProblem problem = Small with { QueryLength = queryLength, KeyLength = keyLength };
        GpuCase.Check(EmulatedDevices.Hopper, problem, Passes.Forward);
        GpuCase.Check(EmulatedDevices.Hopper, problem with { Causal = CausalMask.TopLeft }, Passes.Forward);
        GpuCase.Check(EmulatedDevices.Hopper, problem with { Causal = CausalMask.BottomRight }, Passes.Forward);
    }

    /// <summary>Every class of tile: panels of 64, 32 and 16 columns, two and three consumers, two to four stages.</summary>
    [EmulatedTheory]
    [InlineData(8, 8)]
    [InlineData(16, 32)]
    [InlineData(40, 40)]
    [InlineData(72, 104)]
    [InlineData(80, 80)]
    [InlineData(96, 96)]
    [InlineData(128, 128)]
    [InlineData(160, 160)]
    [InlineData(192, 128)]
    [InlineData(64, 256)]
    [InlineData(256, 8)]
    [InlineData(256, 256)]
    public void HeadDims(int headDim, int valueDim)
    {
        AttentionProblem problem = Small with { QueryLength = 150, KeyLength = 370, HeadDim = headDim, ValueDim = valueDim, Scale = AttentionProblem.DefaultScale(headDim) };
        GpuCase.Check(EmulatedDevices.Hopper, problem with { Heads = 1, ElementType = ElementType.Float16 }, Passes.Forward);
        GpuCase.Check(EmulatedDevices.Hopper, problem with { Causal = CausalMask.BottomRight }, Passes.Forward);
    }

    [EmulatedTheory]
    [InlineData(Layout.Contiguous, Layout.Gaps)]
    [InlineData(Layout.Interleaved, Layout.Interleaved)]
    [InlineData(Layout.Gaps, Layout.Contiguous)]
    public void Layouts(Layout inputs, Layout outputs)
    {
        AttentionProblem problem = Small with { Batch = 2, ValueDim = 48 };
        GpuCase.Check(EmulatedDevices.Hopper, problem, Passes.Forward, inputs, outputs);
        GpuCase.Check(EmulatedDevices.Hopper, problem with { Causal = CausalMask.TopLeft }, Passes.Forward, inputs, outputs);
    }

    /// <summary>Many more units than blocks, so that the pipeline runs on from unit to unit; units of one tile, of several, and of none between them.</summary>
    [EmulatedTheory]
    [InlineData(1, 7, 7, 300, 40)]
    [InlineData(1, 2, 5, 130, 390)]
    [InlineData(2, 1, 40, 40, 3)]
    [InlineData(3, 3, 3, 800, 200)]
    public void MoreUnitsThanBlocks(int batch, int keyHeads, int group, int queryLength, int keyLength)
    {
        AttentionProblem problem = Small with
        {
            Batch = batch,
            Heads = keyHeads * group,
            KeyHeads = keyHeads,
            QueryLength = queryLength,
            KeyLength = keyLength,
            HeadDim = 16,
            ValueDim = 16,
        };
        foreach (CausalMask causal in Enum.GetValues<CausalMask>())
            GpuCase.Check(EmulatedDevices.Hopper, problem with { Causal = causal }, Passes.Forward);
    }

    [EmulatedTheory]
    [InlineData(-0.125)]
    [InlineData(0)]
    [InlineData(1e-30)]
    [InlineData(-3)]
    public void Scales(double scale)
    {
        AttentionProblem problem = Small with { Scale = scale, KeyLength = 300 };
        GpuCase.Check(EmulatedDevices.Hopper, problem, Passes.Forward);
        GpuCase.Check(EmulatedDevices.Hopper, problem with { Causal = CausalMask.BottomRight }, Passes.Forward);
    }

    /// <summary>Maxima that rise from tile to tile, and scores far below 0, beside which a zero in a masked or padded place would win.</summary>
    [EmulatedTheory]
    [InlineData(8, 0)]
    [InlineData(1, 4)]
    public void LargeScores(double amplitude, double shift)
    {
        AttentionProblem problem = Small with { KeyLength = 500, ElementType = ElementType.Float16 };
        GpuCase.Check(EmulatedDevices.Hopper, problem, Passes.Forward, amplitude: amplitude, shift: shift);
        GpuCase.Check(EmulatedDevices.Hopper, problem with { Causal = CausalMask.BottomRight }, Passes.Forward, amplitude: amplitude, shift: shift);
    }

    /// <summary>Other orders of threads, warps and landing copies.</summary>
    [EmulatedTheory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Schedules(int seed)
    {
        EmulatedGpu.Set("seed", seed);
        try
        {
            GpuCase.Check(EmulatedDevices.Hopper, Small with { Heads = 3, KeyLength = 600, Causal = CausalMask.TopLeft, QueryLength = 400 }, Passes.Forward, seed: seed);
            GpuCase.Check(EmulatedDevices.Hopper, Small with { HeadDim = 128, ValueDim = 128, KeyLength = 900 }, Passes.Forward, seed: seed);
        }
        finally
        {
            EmulatedGpu.Set("seed", 0);
        }
    }

    /// <summary>Other tiles, as one would try on a GPU.</summary>
    [EmulatedTheory]
    [InlineData(128, 64, 2)]
    [InlineData(128, 96, 3)]
    [InlineData(192, 80, 4)]
    public void Tunings(int blockM, int blockN, int stages)
    {
        KernelTuning tuning = KernelTuning.None.With(Kernel, "K_BLOCK_M", blockM).With(Kernel, "K_BLOCK_N", blockN).With(Kernel, "K_STAGES", stages);
        AttentionProblem problem = Small with { QueryLength = 300, KeyLength = 700 };
        GpuCase.Check(EmulatedDevices.Hopper, problem, Passes.Forward, tuning: tuning);
        GpuCase.Check(EmulatedDevices.Hopper, problem with { Causal = CausalMask.BottomRight }, Passes.Forward, tuning: tuning);
    }
}
