using TorchFlash.Kernels;
using TorchFlash.Kernels.Cpu;

namespace AttentionBench.Engine;

/// <summary>The passes of the CPU engine over one case, with operands of their own.</summary>
internal sealed class EnginePasses : IDisposable
{
    private readonly List<NativeArray> _arrays = [];

    public AttentionProblem Problem { get; }

    public ForwardArguments ForwardArguments { get; }

    public BackwardArguments BackwardArguments { get; }

    public ExecutionOptions Options { get; }

    public EnginePasses(ElementType type, int heads, int length, int headDim, bool causal, int threads)
    {
        var random = new Random(1);
        Problem = new AttentionProblem
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
        };
        Options = new ExecutionOptions { Threads = threads };
        ForwardArguments = new ForwardArguments
        {
            Query = Array(headDim, random),
            Key = Array(headDim, random),
            Value = Array(headDim, random),
            Output = Array(headDim),
            Statistics = new RowStatistics(Statistic(), Statistic()),
        };
        BackwardArguments = new BackwardArguments
        {
            Query = ForwardArguments.Query,
            Key = ForwardArguments.Key,
            Value = ForwardArguments.Value,
            Output = ForwardArguments.Output,
            OutputGradient = Array(headDim, random),
            Statistics = ForwardArguments.Statistics,
            QueryGradient = Array(headDim),
            KeyGradient = Array(headDim),
            ValueGradient = Array(headDim),
        };

        TensorView Array(int width, Random? random = null) => Add(new NativeArray(type, heads, length, width, random));

        nint Statistic() => Add(new NativeArray(type.Computed(), heads, length, 1)).Data;

        TensorView Add(NativeArray array)
        {
            _arrays.Add(array);
            return array.View;
        }
    }

    public void Forward() => CpuEngine.Instance.Forward(Problem, ForwardArguments, Options);

    public void Backward() => CpuEngine.Instance.Backward(Problem, BackwardArguments, Options);

    public void Dispose() => _arrays.ForEach(array => array.Dispose());
}
