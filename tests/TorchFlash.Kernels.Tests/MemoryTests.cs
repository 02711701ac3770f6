using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests;

/// <summary>The whole process is measured: nothing else may run beside.</summary>
[CollectionDefinition(nameof(MemoryTests), DisableParallelization = true)]
public class AloneInTheProcess;

/// <summary>Memory beyond the operands, as the process has it while a pass runs.</summary>
[Collection(nameof(MemoryTests))]
[Trait("Size", "Large")]
public class MemoryTests
{
    private const int Short = 4096, Long = 4 * Short;

    /// <summary>
    /// From N to 4 N the working memory of forward and backward may grow fourfold, not sixteenfold. A single
    /// N x N float buffer would be 64 MiB at the short and 1 GiB at the long length.
    /// </summary>
    [Fact]
    public void GrowsLinearlyInTheLength()
    {
        Growth(Short); // code and thread pool of the first call
        long small = Growth(Short), large = Growth(Long);
        const long slack = 16 << 20; // garbage collector and test runner
        Assert.True(small <= (32 << 20), $"{small >> 20} MiB at N = {Short}");
        Assert.True(large <= 4 * small + slack, $"{large >> 20} MiB at N = {Long} against {small >> 20} MiB at N = {Short}");
    }

    /// <summary>Largest working set during forward and backward less the one before, in bytes.</summary>
    private static long Growth(int n)
    {
        using var attention = new AttentionCase<float>(new AttentionProblem
        {
            Batch = 1,
            Heads = 1,
            QueryLength = n,
            KeyLength = n,
            HeadDim = 8,
            ValueDim = 8,
            Scale = 0.3,
            Causal = CausalMask.TopLeft,
        }, withWeights: false);
        GC.Collect();
        GC.WaitForPendingFinalizers();
        long before = Environment.WorkingSet, peak = before;
        bool done = false;
        var sampler = new Thread(() =>
        {
            while (!Volatile.Read(ref done))
            {
                peak = Math.Max(peak, Environment.WorkingSet);
                Thread.Sleep(1);
            }
        });
        sampler.Start();
        attention.Run();
        Volatile.Write(ref done, true);
        sampler.Join();
        return Math.Max(peak, Environment.WorkingSet) - before;
    }
}
