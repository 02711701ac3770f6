using System.Numerics;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cpu;

namespace TorchFlash.Benchmarks;

/// <summary>The passes of the CPU engine over one case, with operands of their own.</summary>
internal sealed class EnginePasses<T> : IDisposable where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly AttentionProblem _problem;
    private readonly ForwardArguments _forward;
    private readonly BackwardArguments _backward;
    private readonly ExecutionOptions _options;
    private readonly List<NativeArray<T>> _arrays = [];

    public EnginePasses(int heads, int length, int headDim, bool causal, int threads)
    {
        var random = new Random(1);
        _problem = new AttentionProblem
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
        _options = new ExecutionOptions { Threads = threads };
        _forward = new ForwardArguments
        {
            Query = Array(headDim, random),
            Key = Array(headDim, random),
            Value = Array(headDim, random),
            Output = Array(headDim),
            Statistics = new RowStatistics(Array(1).Data, Array(1).Data),
        };
        _backward = new BackwardArguments
        {
            Query = _forward.Query,
            Key = _forward.Key,
            Value = _forward.Value,
            Output = _forward.Output,
            OutputGradient = Array(headDim, random),
            Statistics = _forward.Statistics,
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

    public void Forward() => CpuEngine.Instance.Forward(_problem, _forward, _options);

    public void Backward() => CpuEngine.Instance.Backward(_problem, _backward, _options);

    public void Dispose() => _arrays.ForEach(array => array.Dispose());
}
