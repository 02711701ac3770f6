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

    /// <summary>O, [B, H, Nq, d_v], in the memory order of Q, and m and l, [B, H, Nq], in the type that engines compute in.</summary>
    public (Tensor Output, Tensor Max, Tensor Sum) Forward(AttentionOperands x)
    {
        ScalarType computed = AttentionOperands.Computed(x.Query.dtype);
        Tensor o = TensorMemory.EmptyInOrderOf(x.Query, Problem.ValueDim);
        Tensor m = empty([Problem.Batch, Problem.Heads, Problem.QueryLength], dtype: computed, device: x.Query.device);
        Tensor l = empty([Problem.Batch, Problem.Heads, Problem.QueryLength], dtype: computed, device: x.Query.device);
        Engine.Forward(
            Problem,
            new ForwardArguments
            {
                Query = TensorMemory.View(x.Query),
                Key = TensorMemory.View(x.Key),
                Value = TensorMemory.View(x.Value),
                Output = TensorMemory.View(o),
                Statistics = Statistics(m, l),
                ScoreTensors = Captured(x),
                Sinks = Address(x.Sinks),
            },
            Options);
        GC.KeepAlive(x);
        KeepAlive(o, m, l);
        return (o, m, l);
    }

    /// <summary>
    /// The gradients of <see cref="AttentionOperands.ToArray"/> from that of O, that of the log-sum-exp, or both: those of Q, K and V, each in
    /// the memory order of its operand, and of the others those that are wanted.
    /// </summary>
    public Tensor?[] Backward(AttentionOperands x, Tensor o, Tensor m, Tensor l, Tensor? outputGradient, Tensor? logSumExpGradient, bool[] wanted)
    {
        Device device = x.Query.device;
        Tensor dO = outputGradient is null // sum() hands in strides of 0.
            ? zeros([1, 1, 1, Problem.ValueDim], o.dtype, device).expand(TensorMemory.Sizes(o))
            : TensorMemory.Readable(outputGradient);
        Tensor? dLSE = logSumExpGradient?.contiguous();
        Tensor dQ = TensorMemory.EmptyInOrderOf(x.Query, Problem.HeadDim);
        Tensor dK = TensorMemory.EmptyInOrderOf(x.Key, Problem.HeadDim);
        Tensor dV = TensorMemory.EmptyInOrderOf(x.Value, Problem.ValueDim);
        Tensor?[] others = [.. x.ToArray().Skip(3).Select((tensor, k) => wanted[3 + k] ? empty(TensorMemory.Sizes(tensor), m.dtype, device) : null)];
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
                Statistics = Statistics(m, l),
                QueryGradient = TensorMemory.View(dQ),
                KeyGradient = TensorMemory.View(dK),
                ValueGradient = TensorMemory.View(dV),
                ScoreTensors = Captured(x),
                ScoreTensorGradients = x.Captured.Length == 0 ? null : [.. others.Take(x.Captured.Length).Select(Address)],
                Sinks = Address(x.Sinks),
                SinkGradient = x.Sinks is null ? 0 : Address(others[^1]),
                LogSumExpGradient = Address(dLSE),
                Workspace = address - address % WorkspaceAlignment,
            },
            options);
        GC.KeepAlive(x);
        GC.KeepAlive(dLSE);
        KeepAlive(o, m, l, dO, dQ, dK, dV);
        return [dQ, dK, dV, .. others.Select((gradient, k) => gradient?.to(x.ToArray()[3 + k].dtype))];
    }

    /// <summary>P after dropout, [B, H, Nq, Nk], or 1/H of its sum over heads, [B, Nq, Nk].</summary>
    public Tensor Weights(AttentionOperands x, Tensor m, Tensor l, bool perHead)
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
                Statistics = Statistics(m, l),
                Weights = new TensorView(TensorMemory.Data(w), perHead ? Problem.Heads * matrix : matrix, perHead ? matrix : 0, Problem.KeyLength),
                PerHead = perHead,
                ScoreTensors = Captured(x),
            },
            Options);
        GC.KeepAlive(x);
        KeepAlive(m, l, w);
        return w;
    }

    /// <summary>The rows' log-sum-exp, [B, H, Nq], -inf where there is nothing to attend to.</summary>
    public Tensor LogSumExp(Tensor m, Tensor l)
    {
        double factor = Problem.Score is null or { OnlyHides: true } ? Math.Abs(Problem.Scale) : 1;
        return (m * factor + l.log()).masked_fill(l.eq(0), double.NegativeInfinity);
    }

    private static CapturedView[]? Captured(AttentionOperands x) => x.Captured.Length == 0 ? null : Array.ConvertAll(x.Captured, TensorMemory.CapturedView);

    private static nint Address(Tensor? tensor) => tensor is null ? 0 : TensorMemory.Data(tensor);

    private static RowStatistics Statistics(Tensor m, Tensor l) => new(TensorMemory.Data(m), TensorMemory.Data(l));

    /// <summary>A tensor that nobody refers to any more may be finalised, and its memory freed, while an engine still uses it.</summary>
    private static void KeepAlive(params ReadOnlySpan<Tensor> tensors)
    {
        foreach (Tensor tensor in tensors)
            GC.KeepAlive(tensor);
    }
}
