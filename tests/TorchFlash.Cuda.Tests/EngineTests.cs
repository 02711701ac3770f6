using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>The engine from end to end on the emulated GPU: every kernel once or twice; their own tests go further.</summary>
public class EngineTests
{
    internal static readonly AttentionProblem Small = new()
    {
        Batch = 2,
        Heads = 2,
        QueryLength = 35,
        KeyLength = 41,
        HeadDim = 32,
        ValueDim = 32,
        Scale = 0.25,
        ElementType = ElementType.BFloat16,
    };

    public static TheoryData<int, ElementType, bool> Kinds
    {
        get
        {
            var data = new TheoryData<int, ElementType, bool>();
            foreach (int device in new[] { EmulatedDevices.Ampere, EmulatedDevices.Hopper, EmulatedDevices.SmallAmpere })
                foreach (ElementType type in Enum.GetValues<ElementType>())
                    foreach (bool causal in new[] { false, true })
                        data.Add(device, type, causal);
            return data;
        }
    }

    [EmulatedTheory]
    [MemberData(nameof(Kinds))]
    public void BothPasses(int device, ElementType type, bool causal) =>
        GpuCase.Check(device, Small with { ElementType = type, Causal = causal ? CausalMask.BottomRight : CausalMask.None });

    [EmulatedTheory]
    [MemberData(nameof(Kinds))]
    public void FixedOrder(int device, ElementType type, bool causal) =>
        GpuCase.Check(device, Small with { ElementType = type, Causal = causal ? CausalMask.TopLeft : CausalMask.None }, deterministic: true);

    [EmulatedTheory]
    [MemberData(nameof(LayoutsOfDevices))]
    public void EveryLayout(int device, Layout inputs, Layout outputs) => GpuCase.Check(device, Small, Passes.All, inputs, outputs);

    public static TheoryData<int, Layout, Layout> LayoutsOfDevices
    {
        get
        {
            var data = new TheoryData<int, Layout, Layout>();
            foreach (int device in new[] { EmulatedDevices.Ampere, EmulatedDevices.Hopper })
                foreach (Layout layout in Layouts.OfDevices)
                    data.Add(device, layout, layout.IsWritable() ? layout : Layout.Gaps);
            return data;
        }
    }

    /// <summary>The first use of a kernel loads it, also where somebody captures a graph at the time.</summary>
    [EmulatedFact]
    public void KernelsAreLoadedWhileAGraphIsCaptured()
    {
        byte[] image = EmulatedGpu.Compile("empty.cu", "#include \"device.cuh\"\nKERNEL_SHAPE(32, 0, 1);\nKERNEL(torchflash_empty, 32, 1, PARAMETER(int) x) { }", "sm_80", "K_SHARED_LIMIT=166912");
        using EmulatedGpu.Current current = EmulatedGpu.Use(EmulatedDevices.Ampere);
        EmulatedGpu.Set("capturing", 1);
        try
        {
            Assert.NotEqual(0, EmulatedGpu.Driver.LoadModule(image));
            Assert.NotEqual(0, EmulatedGpu.Driver.LoadModule(image)); // and the mode of the thread was put back
        }
        finally
        {
            EmulatedGpu.Set("capturing", 0);
        }
    }

    /// <summary>Strides that the copy engine cannot follow cost speed, and describe() says so; the layout of O does not matter.</summary>
    [EmulatedFact]
    public void OperandsThatKeepACallFromTheHopperKernelsAreNamed()
    {
        var runtime = new CudaRuntime(EmulatedDevices.Search, EmulatedDevices.Cache, KernelSources.Embedded);
        CudaEngine engine = runtime.Engine(EmulatedDevices.Hopper, out _)!;
        Forward(Layout.Contiguous, Layout.Reversed);
        Assert.Contains(engine.Modules.Variants, v => v.Kernel == "forward_hopper");
        Assert.DoesNotContain("layout", runtime.Describe());
        Forward(Layout.SharedHeads, Layout.Contiguous);
        Assert.Contains(engine.Modules.Variants, v => v.Kernel == "forward_mma");
        Assert.Contains($"layout    {EmulatedDevices.Hopper}: V had a stride of 0 (expanded)", runtime.Describe());
        Assert.Contains("V had a stride of 0", engine.Describe());

        void Forward(Layout inputs, Layout outputs)
        {
            using var attention = new GpuCase(EmulatedDevices.Hopper, Small, inputs, outputs);
            attention.Run(engine, Passes.Forward).AssertResults(Passes.Forward);
        }
    }

    [EmulatedTheory]
    [InlineData(EmulatedDevices.Ampere, ElementType.BFloat16, 6, 2)]
    [InlineData(EmulatedDevices.Ampere, ElementType.Float64, 6, 2)]
    [InlineData(EmulatedDevices.Hopper, ElementType.Float16, 4, 1)]
    public void SharedKeys(int device, ElementType type, int heads, int keyHeads)
    {
        GpuCase.Check(device, Small with { ElementType = type, Heads = heads, KeyHeads = keyHeads }, Passes.All);
        GpuCase.Check(device, Small with { ElementType = type, Heads = heads, KeyHeads = keyHeads }, Passes.All, deterministic: true);
    }

    /// <summary>Nothing to attend to, nobody who attends, nothing at all.</summary>
    [EmulatedTheory]
    [InlineData(EmulatedDevices.Ampere, ElementType.BFloat16)]
    [InlineData(EmulatedDevices.Ampere, ElementType.Float32)]
    [InlineData(EmulatedDevices.Hopper, ElementType.Float16)]
    public void Emptiness(int device, ElementType type)
    {
        AttentionProblem problem = Small with { ElementType = type };
        foreach (bool deterministic in new[] { false, true })
        {
            GpuCase.Check(device, problem with { KeyLength = 0 }, Passes.All, deterministic: deterministic);
            GpuCase.Check(device, problem with { QueryLength = 0 }, Passes.All, deterministic: deterministic);
            GpuCase.Check(device, problem with { Batch = 0 }, Passes.All, deterministic: deterministic);
            GpuCase.Check(device, problem with { Heads = 0 }, Passes.Forward | Passes.Backward, deterministic: deterministic); // no mean of no heads
        }
    }

    [EmulatedTheory]
    [InlineData(EmulatedDevices.Ampere, ElementType.Float16, -0.3)]
    [InlineData(EmulatedDevices.Ampere, ElementType.Float64, -0.3)]
    [InlineData(EmulatedDevices.Hopper, ElementType.BFloat16, -0.3)]
    public void NegativeScale(int device, ElementType type, double scale)
    {
        AttentionProblem problem = Small with { ElementType = type, Scale = scale, Causal = CausalMask.TopLeft };
        GpuCase.Check(device, problem, Passes.All);
        GpuCase.Check(device, problem, Passes.All, deterministic: true);
    }

    [EmulatedTheory]
    [InlineData(EmulatedDevices.Ampere, ElementType.BFloat16)]
    [InlineData(EmulatedDevices.Hopper, ElementType.BFloat16)]
    [InlineData(EmulatedDevices.Ampere, ElementType.Float32)]
    public void OwnStream(int device, ElementType type)
    {
        using var attention = new GpuCase(device, Small with { ElementType = type });
        var options = new ExecutionOptions { Stream = EmulatedDevices.CreateStream(device) };
        CudaEngine engine = EmulatedDevices.Engine(device);
        engine.Forward(attention.Problem, attention.ForwardArguments, options);
        engine.Backward(attention.Problem, attention.BackwardArguments(engine, options), options);
        attention.AssertResults(Passes.Forward | Passes.Backward);
        var wrong = Assert.Throws<CudaException>(() => engine.Forward(attention.Problem, attention.ForwardArguments, new ExecutionOptions { Stream = 12345 }));
        Assert.Equal("cuLaunchKernel", wrong.Function);
    }

    /// <summary>Whatever context is current on the caller's thread is so afterwards, failures included.</summary>
    [EmulatedFact]
    public void ContextOfTheCallerStays()
    {
        using var attention = new GpuCase(EmulatedDevices.Ampere, Small);
        CudaEngine engine = EmulatedDevices.Engine(EmulatedDevices.Ampere);
        Assert.Equal(0, EmulatedGpu.CurrentContext());
        attention.Run(engine);
        Assert.Equal(0, EmulatedGpu.CurrentContext());
        using (EmulatedDevices.Enter(EmulatedDevices.Hopper))
        {
            nint hopper = EmulatedGpu.CurrentContext();
            attention.Run(engine);
            Assert.Equal(hopper, EmulatedGpu.CurrentContext());
            Assert.Throws<CudaException>(() => engine.Forward(attention.Problem, attention.ForwardArguments, new ExecutionOptions { Stream = 12345 }));
            Assert.Equal(hopper, EmulatedGpu.CurrentContext());
        }
    }

    /// <summary>Equal calls give equal bits in the deterministic mode, and the forward pass does always.</summary>
    [EmulatedFact]
    public void FixedOrderRepeats()
    {
        using var first = new GpuCase(EmulatedDevices.Hopper, Small with { KeyLength = 300 });
        using var second = new GpuCase(EmulatedDevices.Hopper, Small with { KeyLength = 300 });
        first.Run(EmulatedDevices.Engine(EmulatedDevices.Hopper), deterministic: true);
        EmulatedGpu.Set("seed", 77); // another order of warps
        second.Run(EmulatedDevices.Engine(EmulatedDevices.Hopper), deterministic: true);
        EmulatedGpu.Set("seed", 1);
        foreach ((string name, double[] values) in first.Results())
            Assert.Equal(values, second.Results()[name]);
    }
}
