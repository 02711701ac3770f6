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
    public (Tensor Output, Tensor Max, Tensor Sum) Forward(Tensor q, Tensor k, Tensor v)
    {
        ScalarType computed = q.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        Tensor o = TensorMemory.EmptyInOrderOf(q, Problem.ValueDim);
        Tensor m = empty([Problem.Batch, Problem.Heads, Problem.QueryLength], dtype: computed, device: q.device);
        Tensor l = empty([Problem.Batch, Problem.Heads, Problem.QueryLength], dtype: computed, device: q.device);
        Engine.Forward(
            Problem,
            new ForwardArguments
            {
                Query = TensorMemory.View(q),
                Key = TensorMemory.View(k),
                Value = TensorMemory.View(v),
                Output = TensorMemory.View(o),
                Statistics = Statistics(m, l),
            },
            Options);
        KeepAlive(q, k, v, o, m, l);
        return (o, m, l);
    }

    /// <summary>dQ, dK, dV, each in the memory order of its operand.</summary>
    public (Tensor Query, Tensor Key, Tensor Value) Backward(Tensor q, Tensor k, Tensor v, Tensor o, Tensor m, Tensor l, Tensor outputGradient)
    {
        Tensor dO = TensorMemory.Readable(outputGradient); // sum() hands in strides of 0.
        Tensor dQ = TensorMemory.EmptyInOrderOf(q, Problem.HeadDim);
        Tensor dK = TensorMemory.EmptyInOrderOf(k, Problem.HeadDim);
        Tensor dV = TensorMemory.EmptyInOrderOf(v, Problem.ValueDim);
        ExecutionOptions options = Options;
        // A tensor, so that it counts among libtorch's memory and is handed on under the same rules of streams as the operands are.
        long bytes = Engine.BackwardWorkspace(Problem, options);
        using Tensor? workspace = bytes > 0 ? empty(bytes + WorkspaceAlignment - 1, dtype: ScalarType.Int8, device: q.device) : null;
        nint address = workspace is null ? 0 : TensorMemory.Data(workspace) + WorkspaceAlignment - 1;
        Engine.Backward(
            Problem,
            new BackwardArguments
            {
                Query = TensorMemory.View(q),
                Key = TensorMemory.View(k),
                Value = TensorMemory.View(v),
                Output = TensorMemory.View(o),
                OutputGradient = TensorMemory.View(dO),
                Statistics = Statistics(m, l),
                QueryGradient = TensorMemory.View(dQ),
                KeyGradient = TensorMemory.View(dK),
                ValueGradient = TensorMemory.View(dV),
                Workspace = address - address % WorkspaceAlignment,
            },
            options);
        KeepAlive(q, k, v, o, m, l, dO, dQ, dK, dV);
        return (dQ, dK, dV);
    }

    /// <summary>1/H sum over heads of P, [B, Nq, Nk].</summary>
    public Tensor Weights(Tensor q, Tensor k, Tensor m, Tensor l)
    {
        Tensor w = empty([Problem.Batch, Problem.QueryLength, Problem.KeyLength], dtype: q.dtype, device: q.device);
        Engine.Weights(
            Problem,
            new WeightsArguments
            {
                Query = TensorMemory.View(q),
                Key = TensorMemory.View(k),
                Statistics = Statistics(m, l),
                Weights = new TensorView(TensorMemory.Data(w), (long)Problem.QueryLength * Problem.KeyLength, 0, Problem.KeyLength),
            },
            Options);
        KeepAlive(q, k, m, l, w);
        return w;
    }

    private static RowStatistics Statistics(Tensor m, Tensor l) => new(TensorMemory.Data(m), TensorMemory.Data(l));

    /// <summary>A tensor that nobody refers to any more may be finalised, and its memory freed, while an engine still uses it.</summary>
    private static void KeepAlive(params ReadOnlySpan<Tensor> tensors)
    {
        foreach (Tensor tensor in tensors)
            GC.KeepAlive(tensor);
    }
}
