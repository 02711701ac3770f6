using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>What the engine does not take is refused by name before anything is launched; what fails on the way fails with all its text.</summary>
public class EngineRefusalTests
{
    private static readonly AttentionProblem Small = EngineTests.Small;

    private static CudaEngine Engine => EmulatedDevices.Engine(EmulatedDevices.Ampere);

    public static TheoryData<string, AttentionProblem> NotTaken => new()
    {
        { nameof(AttentionProblem.HeadDim), Small with { HeadDim = 257 } },
        { nameof(AttentionProblem.ValueDim), Small with { ValueDim = 264 } },
        { "more blocks", Small with { Batch = 1 << 20, QueryLength = 1 << 20 } },
        { "more blocks", Small with { Batch = 1 << 10, Heads = 1 << 10, KeyLength = 1 << 20 } },
    };

    [EmulatedTheory]
    [MemberData(nameof(NotTaken))]
    public void Refusal(string text, AttentionProblem problem)
    {
        Assert.Contains(text, Engine.Refusal(problem), StringComparison.Ordinal);
        using var attention = new GpuCase(EmulatedDevices.Ampere, Small);
        var exception = Assert.Throws<NotSupportedException>(() => Engine.Forward(problem, attention.ForwardArguments));
        Assert.Contains(text, exception.Message, StringComparison.Ordinal);
        Assert.Throws<NotSupportedException>(() => Engine.Backward(problem, attention.BackwardArguments(Engine)));
        Assert.Throws<NotSupportedException>(() => Engine.BackwardWorkspace(problem));
        Assert.Throws<NotSupportedException>(() => Engine.Precompile(problem));
    }

    [EmulatedTheory]
    [InlineData(ElementType.BFloat16)]
    [InlineData(ElementType.Float16)]
    [InlineData(ElementType.Float32)]
    [InlineData(ElementType.Float64)]
    public void EverythingElseIsTaken(ElementType type)
    {
        foreach (int device in new[] { 0, 1, 2 })
            foreach (int d in new[] { 1, 59, 64, 256 })
                Assert.Null(EmulatedDevices.Engine(device).Refusal(Small with { ElementType = type, HeadDim = d, ValueDim = 257 - d }));
    }

    [EmulatedFact]
    public void Workspace()
    {
        using var attention = new GpuCase(EmulatedDevices.Ampere, Small);
        BackwardArguments arguments = attention.BackwardArguments(Engine);
        Assert.Equal(nameof(BackwardArguments.Workspace),
            Assert.Throws<ArgumentNullException>(() => Engine.Backward(Small, arguments with { Workspace = 0 })).ParamName);
        Assert.Equal(nameof(BackwardArguments.Workspace),
            Assert.Throws<ArgumentException>(() => Engine.Backward(Small, arguments with { Workspace = arguments.Workspace + 16 })).ParamName);

        const long rows = 2 * 2 * 128; // B H Nq, padded to 128
        Assert.Equal(rows * 4 + rows * 4 + rows * 32 * 4, Engine.BackwardWorkspace(Small)); // delta, log_sum, sums of dQ
        Assert.Equal(rows * 4 + rows * 4, Engine.BackwardWorkspace(Small, new ExecutionOptions { Deterministic = true }));
        Assert.Equal(rows * 4, Engine.BackwardWorkspace(Small with { ElementType = ElementType.Float32 }));
        Assert.Equal(rows * 8, Engine.BackwardWorkspace(Small with { ElementType = ElementType.Float64 }));
        Assert.Equal(0, Engine.BackwardWorkspace(Small with { QueryLength = 0 }));
    }

    [EmulatedFact]
    public void NullOperands()
    {
        using var attention = new GpuCase(EmulatedDevices.Ampere, Small);
        Assert.Equal("Query", Assert.Throws<ArgumentNullException>(() => Engine.Forward(Small, attention.ForwardArguments with { Query = default })).ParamName);
        Assert.Equal("Max", Assert.Throws<ArgumentNullException>(() => Engine.Forward(Small, attention.ForwardArguments with { Statistics = default })).ParamName);
        Assert.Equal("Output", Assert.Throws<ArgumentException>(
            () => Engine.Forward(Small, attention.ForwardArguments with { Output = attention.Output.View with { RowStride = 1 } })).ParamName);
    }

    [EmulatedFact]
    public void NoSuchDevice()
    {
        foreach (int device in new[] { -1, 3 })
        {
            Assert.Null(EmulatedDevices.Runtime().Engine(device, out string reason));
            Assert.Contains($"no CUDA device {device}", reason, StringComparison.Ordinal);
        }
    }

    /// <summary>A launch that fails: the function, the error's name and text, the kernel, and what the emulation has to say.</summary>
    [EmulatedFact]
    public void TextOfAFailedLaunch()
    {
        using var attention = new GpuCase(EmulatedDevices.Ampere, Small);
        ForwardArguments beyond = attention.ForwardArguments with { Query = attention.Query.View with { BatchStride = 1 << 20 } };
        var exception = Assert.Throws<CudaException>(() => Engine.Forward(Small, beyond));
        Assert.Equal("cuLaunchKernel", exception.Function);
        Assert.Equal("CUDA_ERROR_LAUNCH_FAILED", exception.ErrorName);
        Assert.Equal(719, exception.Code);
        foreach (string part in new[] { "cuLaunchKernel", "CUDA_ERROR_LAUNCH_FAILED", "719", "forward_mma sm_80", "K_HEAD_DIM=32", ".cuh:" })
            Assert.Contains(part, exception.Message, StringComparison.Ordinal);
    }

    [EmulatedFact]
    public void TextOfAFailedCompilation()
    {
        KernelSources broken = KernelSources.Embedded.With("forward_mma.cu", KernelSources.Embedded["forward_mma.cu"] + "\nthis is no C++;\n");
        using var attention = new GpuCase(EmulatedDevices.Ampere, Small);
        CudaEngine engine = EmulatedDevices.Engine(EmulatedDevices.Ampere, sources: broken);
        foreach (int _ in new[] { 1, 2 }) // the second call tries again
        {
            var exception = Assert.Throws<CudaCompilationException>(() => engine.Forward(Small, attention.ForwardArguments));
            Assert.Contains("this is no C++", exception.Log, StringComparison.Ordinal);
            Assert.Contains("forward_mma sm_80", exception.Kernel, StringComparison.Ordinal);
            Assert.Contains(exception.Log, exception.Message, StringComparison.Ordinal);
        }
    }

    [EmulatedFact]
    public void MissingSource()
    {
        var exception = Assert.Throws<InvalidOperationException>(() => KernelSources.Embedded["forward_abacus.cu"]);
        Assert.Contains("forward_abacus.cu", exception.Message, StringComparison.Ordinal);
        Assert.Contains("forward_mma.cu", exception.Message, StringComparison.Ordinal);
    }
}
