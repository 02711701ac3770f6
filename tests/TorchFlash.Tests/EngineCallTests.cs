using TorchFlash.Attention;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cpu;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>What an engine is handed: problem, workspace and options.</summary>
public class EngineCallTests
{
    /// <summary>The CPU engine, taking note of what it is asked, with a workspace that it does not need.</summary>
    private sealed class NotingEngine : IAttentionEngine
    {
        public const long WorkspaceBytes = 1000;

        public List<(string Pass, AttentionProblem Problem, ExecutionOptions Options, nint Workspace)> Calls { get; } = [];

        public string Name => "noting";

        public string Describe() => "notes";

        public string? Refusal(in AttentionProblem problem) => CpuEngine.Instance.Refusal(problem);

        public long BackwardWorkspace(in AttentionProblem problem, in ExecutionOptions options = default) => WorkspaceBytes;

        public void Forward(in AttentionProblem problem, in ForwardArguments arguments, in ExecutionOptions options = default)
        {
            Calls.Add(("forward", problem, options, 0));
            CpuEngine.Instance.Forward(problem, arguments, options);
        }

        public unsafe void Backward(in AttentionProblem problem, in BackwardArguments arguments, in ExecutionOptions options = default)
        {
            Calls.Add(("backward", problem, options, arguments.Workspace));
            new Span<byte>((void*)arguments.Workspace, (int)WorkspaceBytes).Fill(0xFF); // it must be there
            CpuEngine.Instance.Backward(problem, arguments, options);
        }

        public void Weights(in AttentionProblem problem, in WeightsArguments arguments, in ExecutionOptions options = default)
        {
            Calls.Add(("weights", problem, options, 0));
            CpuEngine.Instance.Weights(problem, arguments, options);
        }
    }

    /// <summary>As many threads as are asked for work at the same time, more than libtorch has as well.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void AsManyThreadsAsAskedFor(int threadsOfLibtorch)
    {
        int before = get_num_threads();
        try
        {
            set_num_threads(threadsOfLibtorch);
            foreach (int threads in new[] { 2, 3, 7 })
            {
                int arrived = 0;
                WorkerPool.Run(threads, () =>
                {
                    Interlocked.Increment(ref arrived);
                    SpinWait.SpinUntil(() => Volatile.Read(ref arrived) >= threads, TimeSpan.FromSeconds(30));
                });
                Assert.Equal(threads, arrived);
            }
        }
        finally
        {
            set_num_threads(before);
        }
    }

    [Fact]
    public void WorkspaceIsAlignedAndAsLargeAsAskedFor()
    {
        NotingEngine engine = new();
        using IDisposable replacement = Engines.Replace(DeviceType.CPU, engine);
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(1, 2, 9, 11, 8, 8);
        for (int i = 0; i < 8; i++)
            (flash.nn.functional.scaled_dot_product_attention(q, k, v) * c).sum().backward();
        Assert.Equal(16, engine.Calls.Count);
        Assert.All(engine.Calls.Where(call => call.Pass == "backward"), call =>
        {
            Assert.NotEqual(0, call.Workspace);
            Assert.Equal(0, call.Workspace % 256);
        });
    }

    [Fact]
    public void GroupedHeadsReachTheEngineAsTheyAre()
    {
        NotingEngine engine = new();
        using IDisposable replacement = Engines.Replace(DeviceType.CPU, engine);
        Tensor q = TestData.Normal(1, [1, 4, 5, 8]), k = TestData.Normal(2, [1, 2, 7, 8]);
        flash.nn.functional.scaled_dot_product_attention(q, k, k, enable_gqa: true);
        Assert.Equal((4, 2), (Assert.Single(engine.Calls).Problem.Heads, engine.Calls[0].Problem.KeyHeads));
    }

    [Fact]
    public void ABackwardPassIsDeterministicWhereThatHoldsWhenItRuns()
    {
        NotingEngine engine = new();
        using IDisposable replacement = Engines.Replace(DeviceType.CPU, engine);
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(1, 2, 9, 11, 8, 8);
        Assert.False(flash.are_deterministic_algorithms_enabled());
        Tensor o = flash.nn.functional.scaled_dot_product_attention(q, k, v);
        using (flash.use_deterministic_algorithms(warn_only: true))
        {
            Assert.True(flash.are_deterministic_algorithms_enabled());
            Assert.True(flash.is_deterministic_algorithms_warn_only_enabled());
            Assert.Contains("deterministic on", flash.describe());
            (o * c).sum().backward();
        }
        Assert.False(flash.are_deterministic_algorithms_enabled());
        Assert.False(flash.is_deterministic_algorithms_warn_only_enabled());
        Assert.Equal([false, true], engine.Calls.Select(call => call.Options.Deterministic));
    }

    [Fact]
    public void StatisticsAreInTheTypeThatTheEngineComputesIn()
    {
        foreach ((ScalarType type, ScalarType statistics) in new[] { (ScalarType.Float32, ScalarType.Float32), (ScalarType.Float64, ScalarType.Float64) })
        {
            Tensor x = TestData.Normal(1, [1, 2, 5, 8], type);
            (_, Tensor rows) = new EnginePass(CpuEngine.Instance, new AttentionCall(x, x, x).Problem).Forward(new(x, x, x));
            Assert.Equal(statistics, rows.dtype);
        }
    }
}
