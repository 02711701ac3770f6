using System.Numerics;
using System.Runtime.InteropServices;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Scores;

namespace AttentionBench.Engine;

/// <summary>The passes of the CPU engine over the operands of plain ones, with what a case does to their scores, and results of their own.</summary>
internal sealed unsafe class ScorePasses<T> : IDisposable where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly AttentionProblem _problem;
    private readonly ForwardArguments _forward;
    private readonly BackwardArguments _backward;
    private readonly ExecutionOptions _options;
    private readonly List<nint> _memory = [];

    public ScorePasses(EnginePasses plain, ScoreCase c)
    {
        _options = plain.Options;
        _problem = plain.Problem with { Causal = c.Causal, Score = c.Program, HasSinks = c.HasSinks, Dropout = c.Dropout, DropoutSeed = 1 };
        IReadOnlyList<ScoreTensor> tensors = c.Program?.Tensors ?? [];
        CapturedView[] views = [.. tensors.Select(View)];
        nint sinks = c.HasSinks ? Reals(_problem.Heads, _ => 0.5) : 0;
        Output = plain.ForwardArguments.Output with { Data = Results(_problem.ValueDim) };
        var statistics = new RowStatistics(Results(1), Results(1));
        _forward = plain.ForwardArguments with { Output = Output, Statistics = statistics, ScoreTensors = views, Sinks = sinks };
        _backward = plain.BackwardArguments with
        {
            Output = Output,
            Statistics = statistics,
            QueryGradient = plain.BackwardArguments.QueryGradient with { Data = Results(_problem.HeadDim) },
            KeyGradient = plain.BackwardArguments.KeyGradient with { Data = Results(_problem.HeadDim) },
            ValueGradient = plain.BackwardArguments.ValueGradient with { Data = Results(_problem.ValueDim) },
            ScoreTensors = views,
            Sinks = sinks,
            ScoreTensorGradients = c.Gradients ? [.. tensors.Select(t => t.Kind == ScoreKind.Real ? Reals(Count(t), _ => 0) : 0)] : null,
            SinkGradient = c.Gradients && c.HasSinks ? Reals(_problem.Heads, _ => 0) : 0,
        };
    }

    /// <summary>O, as the last forward pass left it.</summary>
    public TensorView Output { get; }

    public void Forward() => CpuEngine.Instance.Forward(_problem, _forward, _options);

    public void Backward() => CpuEngine.Instance.Backward(_problem, _backward, _options);

    public void Both()
    {
        Forward();
        Backward();
    }

    public void Dispose()
    {
        foreach (nint memory in _memory)
            NativeMemory.AlignedFree((void*)memory);
        _memory.Clear();
    }

    private nint Results(int width) => Reals((long)_problem.Heads * _problem.QueryLength * width, _ => 0);

    private nint Reals(long count, Elements elements) => Fill(count, index => T.CreateChecked(elements(index)));

    private nint Fill<E>(long count, Func<long, E> element) where E : unmanaged
    {
        var data = (E*)NativeMemory.AlignedAlloc((nuint)count * (nuint)sizeof(E), 64);
        _memory.Add((nint)data);
        for (long i = 0; i < count; i++)
            data[i] = element(i);
        return (nint)data;
    }

    private CapturedView View(ScoreTensor tensor)
    {
        var elements = (Elements)tensor.Source!;
        long[] strides = new long[ScoreTensor.MaxDimensions];
        long stride = 1;
        for (int a = tensor.Shape.Count - 1; a >= 0; stride *= tensor.Shape[a--])
            strides[a] = stride;
        nint data = tensor.Kind switch
        {
            ScoreKind.Real => Reals(stride, elements),
            ScoreKind.Int => Fill(stride, index => (long)elements(index)),
            _ => Fill(stride, index => (byte)elements(index)),
        };
        return new CapturedView(data, strides[0], strides[1], strides[2], strides[3]);
    }

    private static long Count(ScoreTensor tensor) => tensor.Shape.Aggregate(1L, (a, b) => a * b);
}
