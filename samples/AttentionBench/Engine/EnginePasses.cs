using System.Numerics;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cpu;

namespace AttentionBench.Engine;

/// <summary>The passes of the CPU engine over one case, with operands of their own.</summary>
internal sealed class EnginePasses<T> : IDisposable where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly List<NativeArray<T>> _arrays = [];

    public AttentionProblem Problem { get; }

    public ForwardArguments ForwardArguments { get; }

    public BackwardArguments BackwardArguments { get; }

    public ExecutionOptions Options { get; }

    public EnginePasses(int heads, int length, int headDim, bool causal, int threads)
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
            ElementType = typeof(T) == typeof(float) ? ElementType.Float32 : ElementType.Float64,
            Causal = causal ? CausalMask.TopLeft : CausalMask.None,
        };
        Options = new ExecutionOptions { Threads = threads };
        ForwardArguments = new ForwardArguments
        {
            Query = Array(headDim, random),
            Key = Array(headDim, random),
            Value = Array(headDim, random),
            Output = Array(headDim),
            Statistics = new RowStatistics(Array(1).Data, Array(1).Data),
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

        TensorView Array(int width, Random? random = null)
        {
            _arrays.Add(new NativeArray<T>(heads, length, width, random));
            return _arrays[^1].View;
        }
    }

    public void Forward() => CpuEngine.Instance.Forward(Problem, ForwardArguments, Options);

    public void Backward() => CpuEngine.Instance.Backward(Problem, BackwardArguments, Options);

    public void Dispose() => _arrays.ForEach(array => array.Dispose());
}
