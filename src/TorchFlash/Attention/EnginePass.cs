using TorchFlash.Kernels;
using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>
/// The passes of an engine over a problem, from tensors to tensors. Operands are <see cref="TensorMemory.Readable"/>.
/// </summary>
/// <remarks>
/// On CUDA devices a pass is only enqueued, on the default stream, which is where libtorch's own kernels of this thread run: no API of
/// TorchSharp sets another. What makes that safe once the managed side has let go of a tensor: the caching allocator hands a freed block
/// on only to what is enqueued on the same stream, hence later. So operands and workspace need to live until the launch has been
/// enqueued, no longer.
/// </remarks>
internal sealed record EnginePass(IAttentionEngine Engine, AttentionProblem Problem)
{
    private const int WorkspaceAlignment = 256; // What engines ask for; libtorch's CPU allocator gives 64.

    private static ExecutionOptions Options => new() { Threads = get_num_threads(), Deterministic = Settings.Determinism.Required };

    /// <summary>O, [B, H, Nq, d_v], in the memory order of Q, and m and l, [2, B, H, Nq], in the type that engines compute in.</summary>
    public (Tensor Output, Tensor Statistics) Forward(AttentionOperands x)
    {
        Tensor o = TensorMemory.EmptyInOrderOf(x.Query, Problem.ValueDim);
        Tensor statistics = empty([2, Problem.Batch, Problem.Heads, Problem.QueryLength], dtype: AttentionOperands.Computed(o.dtype), device: o.device);
        Engine.Forward(
            Problem,
            new ForwardArguments
            {
                Query = TensorMemory.View(x.Query),
                Key = TensorMemory.View(x.Key),
                Value = TensorMemory.View(x.Value),
                Output = TensorMemory.View(o),
                Statistics = Rows(statistics),
                ScoreTensors = Captured(x),
                Sinks = Address(x.Sinks),
            },
            Options);
        GC.KeepAlive(x);
        KeepAlive(o, statistics);
        return (o, statistics);
    }

    /// <summary>
    /// The gradients of <see cref="AttentionOperands.ToArray"/> from that of O, that of the log-sum-exp, or both: those of Q, K and V, each in
    /// the memory order of its operand, and of the others those that are wanted.
    /// </summary>
    public Tensor?[] Backward(AttentionOperands x, Tensor o, Tensor statistics, Tensor? outputGradient, Tensor? logSumExpGradient, bool[] wanted)
    {
        Device device = x.Query.device;
        Tensor dO = outputGradient is null // sum() hands in strides of 0.
            ? zeros([1, 1, 1, Problem.ValueDim], o.dtype, device).expand(TensorMemory.Sizes(o))
            : TensorMemory.Readable(outputGradient);
        Tensor? dLSE = logSumExpGradient?.contiguous();
        Tensor dQ = TensorMemory.EmptyInOrderOf(x.Query, Problem.HeadDim);
        Tensor dK = TensorMemory.EmptyInOrderOf(x.Key, Problem.HeadDim);
        Tensor dV = TensorMemory.EmptyInOrderOf(x.Value, Problem.ValueDim);
        Tensor[] operands = x.ToArray();
        Tensor?[] gradients = [dQ, dK, dV, .. new Tensor?[operands.Length - 3]];
        for (int k = 3; k < operands.Length; k++)
            gradients[k] = wanted[k] ? empty(TensorMemory.Sizes(operands[k]), statistics.dtype, device) : null;
        ExecutionOptions options = Options;
        // A tensor, so that it counts among libtorch's memory and is handed on under the same rules of streams as the operands are.
        long bytes = Engine.BackwardWorkspace(Problem, options);
        using Tensor? workspace = bytes > 0 ? empty(bytes + WorkspaceAlignment - 1, dtype: ScalarType.Int8, device: device) : null;
        nint address = workspace is null ? 0 : TensorMemory.Data(workspace) + WorkspaceAlignment - 1;
        Engine.Backward(
            Problem,
            new BackwardArguments
            {
                Query = TensorMemory.View(x.Query),
                Key = TensorMemory.View(x.Key),
                Value = TensorMemory.View(x.Value),
                Output = TensorMemory.View(o),
                OutputGradient = TensorMemory.View(dO),
                Statistics = Rows(statistics),
                QueryGradient = TensorMemory.View(dQ),
                KeyGradient = TensorMemory.View(dK),
                ValueGradient = TensorMemory.View(dV),
                ScoreTensors = Captured(x),
                ScoreTensorGradients = x.Captured.Length == 0 ? null : Array.ConvertAll(gradients[3..(3 + x.Captured.Length)], Address),
                Sinks = Address(x.Sinks),
                SinkGradient = x.Sinks is null ? 0 : Address(gradients[^1]),
                LogSumExpGradient = Address(dLSE),
                Workspace = address - address % WorkspaceAlignment,
            },
            options);
        GC.KeepAlive(x);
        GC.KeepAlive(dLSE);
        KeepAlive(o, statistics, dO, dQ, dK, dV);
        for (int k = 3; k < operands.Length; k++)
            gradients[k] = gradients[k]?.to(operands[k].dtype);
        return gradients;
    }

    /// <summary>P after dropout, [B, H, Nq, Nk], or 1/H of its sum over heads, [B, Nq, Nk].</summary>
    public Tensor Weights(AttentionOperands x, Tensor statistics, bool perHead)
    {
        long[] shape = perHead ? [Problem.Batch, Problem.Heads, Problem.QueryLength, Problem.KeyLength] : [Problem.Batch, Problem.QueryLength, Problem.KeyLength];
        Tensor w = empty(shape, dtype: x.Query.dtype, device: x.Query.device);
        long matrix = (long)Problem.QueryLength * Problem.KeyLength;
        Engine.Weights(
            Problem,
            new WeightsArguments
            {
                Query = TensorMemory.View(x.Query),
                Key = TensorMemory.View(x.Key),
                Statistics = Rows(statistics),
                Weights = new TensorView(TensorMemory.Data(w), perHead ? Problem.Heads * matrix : matrix, perHead ? matrix : 0, Problem.KeyLength),
                PerHead = perHead,
                ScoreTensors = Captured(x),
            },
            Options);
        GC.KeepAlive(x);
        KeepAlive(statistics, w);
        return w;
    }

    /// <summary>The rows' log-sum-exp, [B, H, Nq], -inf where there is nothing to attend to.</summary>
    public Tensor LogSumExp(Tensor statistics)
    {
        (Tensor m, Tensor l) = (statistics[0], statistics[1]);
        double factor = Problem.Score is null or { OnlyHides: true } ? Math.Abs(Problem.Scale) : 1;
        return (m * factor + l.log()).masked_fill(l.eq(0), double.NegativeInfinity);
    }

    private static CapturedView[]? Captured(AttentionOperands x) => x.Captured.Length == 0 ? null : Array.ConvertAll(x.Captured, TensorMemory.CapturedView);

    private static nint Address(Tensor? tensor) => tensor is null ? 0 : TensorMemory.Data(tensor);

    /// <summary>Where m and l lie.</summary>
    private RowStatistics Rows(Tensor statistics)
    {
        nint m = TensorMemory.Data(statistics), rows = (nint)Problem.Batch * Problem.Heads * Problem.QueryLength;
        return new(m, m + rows * (Problem.ElementType == ElementType.Float64 ? sizeof(double) : sizeof(float)));
    }

    /// <summary>A tensor that nobody refers to any more may be finalised, and its memory freed, while an engine still uses it.</summary>
    private static void KeepAlive(params ReadOnlySpan<Tensor> tensors)
    {
        foreach (Tensor tensor in tensors)
            GC.KeepAlive(tensor);
    }
}
