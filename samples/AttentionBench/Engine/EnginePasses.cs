using TorchFlash.Kernels;
using TorchFlash.Kernels.Cpu;

namespace AttentionBench.Engine;

/// <summary>The passes of the CPU engine over one case, with operands of their own.</summary>
internal sealed class EnginePasses : IDisposable
{
    private readonly TrialOperands _operands;

    public AttentionProblem Problem { get; }

    public ForwardArguments ForwardArguments => _operands.Forward;

    public BackwardArguments BackwardArguments => _operands.Backward;

    public ExecutionOptions Options { get; }

    public EnginePasses(ElementType type, int heads, int length, int headDim, bool causal, int threads)
        : this(
            new AttentionProblem
            {
                Batch = 1,
                Heads = heads,
                QueryLength = length,
                KeyLength = length,
                HeadDim = headDim,
                ValueDim = headDim,
                Scale = AttentionProblem.DefaultScale(headDim),
                ElementType = type,
                Causal = causal ? CausalMask.TopLeft : CausalMask.None,
            },
            threads)
    {
    }

    public EnginePasses(AttentionProblem problem, int threads)
    {
        Problem = problem;
        _operands = new TrialOperands(problem);
        Options = new ExecutionOptions { Threads = threads };
    }

    public void Forward() => CpuEngine.Instance.Forward(Problem, ForwardArguments, Options);

    public void Backward() => CpuEngine.Instance.Backward(Problem, BackwardArguments, Options);

    public void Dispose() => _operands.Dispose();
}
