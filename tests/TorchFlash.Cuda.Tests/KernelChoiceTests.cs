using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Files;

namespace TorchFlash.Cuda.Tests;

/// <summary>Which kernels are taken, how they are specialised, and that each is compiled once.</summary>
public class KernelChoiceTests
{
    private static readonly AttentionProblem Small = EngineTests.Small;

    [EmulatedTheory]
    [InlineData(EmulatedDevices.Ampere, ElementType.BFloat16, Layout.Contiguous, "forward_mma", 1)]
    [InlineData(EmulatedDevices.Ampere, ElementType.BFloat16, Layout.Odd, "forward_mma", 0)]
    [InlineData(EmulatedDevices.Ampere, ElementType.Float32, Layout.Contiguous, "forward_exact", 1)]
    [InlineData(EmulatedDevices.Hopper, ElementType.BFloat16, Layout.Contiguous, "forward_hopper", 1)]
    [InlineData(EmulatedDevices.Hopper, ElementType.Float16, Layout.Interleaved, "forward_hopper", 1)]
    [InlineData(EmulatedDevices.Hopper, ElementType.Float16, Layout.Gaps, "forward_hopper", 1)]
    [InlineData(EmulatedDevices.Hopper, ElementType.BFloat16, Layout.Odd, "forward_mma", 0)]
    [InlineData(EmulatedDevices.Hopper, ElementType.BFloat16, Layout.Reversed, "forward_mma", 1)]
    [InlineData(EmulatedDevices.Hopper, ElementType.BFloat16, Layout.SharedHeads, "forward_mma", 1)]
    [InlineData(EmulatedDevices.Hopper, ElementType.Float64, Layout.Contiguous, "forward_exact", 1)]
    public void KernelForDeviceAndLayout(int device, ElementType type, Layout layout, string kernel, int aligned)
    {
        using var attention = new GpuCase(device, Small with { ElementType = type }, layout);
        var runtime = new CudaRuntime(EmulatedDevices.Search, EmulatedDevices.Cache, KernelSources.Embedded);
        CudaEngine engine = runtime.Engine(device, out _)!;
        engine.Forward(attention.Problem, attention.ForwardArguments);
        KernelVariant variant = Assert.Single(engine.Modules.Variants);
        Assert.Equal(kernel, variant.Kernel);
        Assert.Contains($"K_ALIGNED={aligned}", variant.Macros, StringComparison.Ordinal);
        Assert.Equal(device == EmulatedDevices.Hopper ? "sm_90a" : "sm_80", variant.Target);
    }

    /// <summary>A size of 1 makes its stride irrelevant: neither a reason against alignment nor against tensor maps.</summary>
    [EmulatedFact]
    public void StridesThatAreNotApplied()
    {
        AttentionProblem one = Small with { Batch = 1, Heads = 1 };
        using var attention = new GpuCase(EmulatedDevices.Hopper, one);
        var runtime = new CudaRuntime(EmulatedDevices.Search, EmulatedDevices.Cache, KernelSources.Embedded);
        CudaEngine engine = runtime.Engine(EmulatedDevices.Hopper, out _)!;
        ForwardArguments arguments = attention.ForwardArguments;
        engine.Forward(one, arguments with
        {
            Query = arguments.Query with { BatchStride = 0, HeadStride = -7 },
            Key = arguments.Key with { BatchStride = 3, HeadStride = long.MaxValue },
            Output = arguments.Output with { BatchStride = 1, HeadStride = 1 },
        });
        Assert.Equal("forward_hopper", Assert.Single(engine.Modules.Variants).Kernel);
        attention.AssertResults(Passes.Forward);
    }

    [EmulatedFact]
    public void Tuning()
    {
        KernelTuning tuning = KernelTuning.None with { AvoidHopper = true };
        CudaEngine engine = EmulatedDevices.Engine(EmulatedDevices.Hopper, tuning.With("forward_mma", "K_BLOCK_M", 64));
        KernelVariant forward = engine.Variants(Small, new PrecompileOptions { ForwardOnly = true }).Single();
        Assert.Equal("forward_mma", forward.Kernel);
        Assert.Contains("K_BLOCK_M=64", forward.Macros, StringComparison.Ordinal);
        Assert.DoesNotContain(engine.Variants(Small, default).Skip(1), v => v.Macros.Contains("K_BLOCK_M", StringComparison.Ordinal));
    }

    [EmulatedTheory]
    [InlineData(EmulatedDevices.Ampere, ElementType.BFloat16, false, "forward_mma backward_prepare backward_mma backward_finish weights")]
    [InlineData(EmulatedDevices.Ampere, ElementType.BFloat16, true, "forward_mma backward_prepare backward_mma backward_query_mma weights")]
    [InlineData(EmulatedDevices.Hopper, ElementType.Float16, false, "forward_hopper backward_prepare backward_hopper backward_finish weights")]
    [InlineData(EmulatedDevices.Hopper, ElementType.Float16, true, "forward_hopper backward_prepare backward_hopper backward_query_mma weights")]
    [InlineData(EmulatedDevices.Hopper, ElementType.Float64, false, "forward_exact backward_prepare_exact backward_exact backward_query_exact weights")]
    public void PrecompiledKernelsAreThoseThatRun(int device, ElementType type, bool deterministic, string kernels)
    {
        AttentionProblem problem = Small with { ElementType = type, Causal = CausalMask.TopLeft };
        var runtime = new CudaRuntime(EmulatedDevices.Search, EmulatedDevices.Cache, KernelSources.Embedded);
        CudaEngine engine = runtime.Engine(device, out _)!;
        IReadOnlyList<string> precompiled = engine.Precompile(problem, new PrecompileOptions { Deterministic = deterministic, Weights = true });
        Assert.Equal(kernels.Split(' '), precompiled.Select(p => p.Split(' ')[0]));
        using var attention = new GpuCase(device, problem);
        attention.Run(engine, Passes.All, deterministic);
        Assert.Equal(precompiled.Order(), engine.Modules.Variants.Select(v => v.ToString()).Order());
        Assert.Equal(precompiled.Count, runtime.Compiler!.Compiled.Count + runtime.Compiler.CacheHits);
    }

    /// <summary>The fixed-order flag and lengths make no new kernels of those that do not depend on them.</summary>
    [EmulatedFact]
    public void NoMoreVariantsThanNeeded()
    {
        CudaEngine engine = EmulatedDevices.Engine(EmulatedDevices.Ampere);
        var deterministic = new PrecompileOptions { Deterministic = true };
        Assert.Equal(engine.Variants(Small, default).First(), engine.Variants(Small with { Batch = 7, QueryLength = 1000, KeyLength = 3, Scale = 2 }, deterministic).First());
        AttentionProblem exact = Small with { ElementType = ElementType.Float32 };
        Assert.Equal(engine.Variants(exact, default), engine.Variants(exact, deterministic));
        Assert.Equal(engine.Variants(Small, default).ElementAt(1), engine.Variants(Small with { Causal = CausalMask.TopLeft }, default).ElementAt(1));
    }

    [Theory]
    [InlineData(80, "sm_80")]
    [InlineData(86, "sm_86")]
    [InlineData(87, "compute_86")]  // PTX: 8.6's machine code would run here, but 9.0's, say, on no 10.0
    [InlineData(90, "sm_90a")]
    [InlineData(100, "compute_90")]
    [InlineData(120, "compute_90")]
    public void TargetOfADevice(int architecture, string target)
    {
        Assert.Equal(target, KernelTarget.NameFor(architecture, [50, 80, 86, 89, 90]));
        Assert.Equal(architecture == 90 ? target : $"sm_{architecture}", KernelTarget.NameFor(architecture, []));
    }

    [Fact]
    public void TextIsStable()
    {
        (string, int)[] macros = [("K_TYPE", 1), ("K_HEAD_DIM", 64), ("K_CAUSAL", 0), ("K_CAUSAL", 1)];
        var variant = KernelVariant.Create("forward_mma", "sm_80", macros);
        Assert.Equal("forward_mma sm_80 K_CAUSAL=1 K_HEAD_DIM=64 K_TYPE=1", variant.ToString());
        Assert.Equal(variant, KernelVariant.Create("forward_mma", "sm_80", macros.Skip(3).Concat(macros.Take(2))));
        Assert.Equal(["--std=c++17", "--gpu-architecture=sm_80", "-DK_CAUSAL=1", "-DK_HEAD_DIM=64", "-DK_TYPE=1"], variant.Options);
        Assert.Equal("torchflash_forward_mma", variant.EntryPoint);
    }

    /// <summary>All that may change the code changes the key, a header that only another header includes among it.</summary>
    [EmulatedFact]
    public void KeyOfTheCache()
    {
        Nvrtc nvrtc = EmulatedGpu.Nvrtc;
        var variant = KernelVariant.Create("forward_mma", "sm_80", [("K_TYPE", 1)]);
        string key = Key(KernelSources.Embedded, variant);
        Assert.Matches("^[0-9a-f]{64}$", key);
        Assert.Equal(key, Key(KernelSources.Embedded.With("other.cu", ""), variant));
        string[] keys =
        [
            key,
            Key(KernelSources.Embedded, variant with { Target = "sm_86" }),
            Key(KernelSources.Embedded, variant with { Macros = "K_TYPE=0" }),
            Key(KernelSources.Embedded.With("device.cuh", KernelSources.Embedded["device.cuh"] + "\n"), variant),
            Key(KernelSources.Embedded.With("forward_mma.cu", KernelSources.Embedded["forward_mma.cu"] + "\n"), variant),
        ];
        Assert.Equal(keys.Length, keys.Distinct().Count());

        string Key(KernelSources sources, KernelVariant variant) => new KernelCompiler(sources, nvrtc, new DiskCache(null)).Key(variant);
    }

    /// <summary>Threads that need the same kernel at the same time wait for one compilation.</summary>
    [EmulatedFact]
    public void CompiledOnce()
    {
        var runtime = new CudaRuntime(EmulatedDevices.Search, new DiskCache(null), KernelSources.Embedded);
        CudaEngine engine = runtime.Engine(EmulatedDevices.Ampere, out _)!;
        Parallel.For(0, 6, new ParallelOptions { MaxDegreeOfParallelism = 6 }, i =>
        {
            using var attention = new GpuCase(EmulatedDevices.Ampere, Small with { ElementType = ElementType.Float32, QueryLength = 4 + i });
            attention.Run(engine, Passes.Forward).AssertResults(Passes.Forward);
        });
        Assert.Single(runtime.Compiler!.Compiled);
        Assert.True(runtime.Compiler.Compiled[0].Time > TimeSpan.Zero);
        Assert.Contains("1 compiled", runtime.Describe(), StringComparison.Ordinal);
    }

    /// <summary>
    /// What another process compiled is used; what the driver refuses, though whole, is compiled anew, once; in a folder that others can write
    /// nothing is used, and the runtime says so.
    /// </summary>
    [EmulatedFact]
    public void CacheOnDisk()
    {
        using var folder = new TemporaryFolder();
        using var attention = new GpuCase(EmulatedDevices.Ampere, Small with { ElementType = ElementType.Float32 });
        Assert.Equal((1, 0), Run()); // compiled, found
        Assert.Equal((0, 1), Run());
        string own = Assert.Single(Directory.GetDirectories(folder.Path)), file = Assert.Single(Directory.GetFiles(own));
        new DiskCache(folder.Path).Keep(Path.GetFileNameWithoutExtension(file), "not a module"u8);
        Assert.Equal((1, 1), Run());
        Assert.Equal((0, 1), Run());
        File.WriteAllBytes(file, [1, 2, 3]);
        Assert.Equal((1, 0), Run());
        if (OperatingSystem.IsWindows())
            return;
        File.SetUnixFileMode(own, (UnixFileMode)0b111_111_111);
        Assert.Equal((1, 0), Run("not usable: " + own));
        Assert.Equal((1, 0), Run("not usable: " + own));

        (int, int) Run(string said = "")
        {
            var runtime = new CudaRuntime(EmulatedDevices.Search, new DiskCache(folder.Path), KernelSources.Embedded);
            Assert.Contains(said, runtime.Describe(), StringComparison.Ordinal);
            attention.Run(runtime.Engine(EmulatedDevices.Ampere, out _)!, Passes.Forward).AssertResults(Passes.Forward);
            return (runtime.Compiler!.Compiled.Count, runtime.Compiler.CacheHits);
        }
    }
}
