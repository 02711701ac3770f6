using TorchFlash.Autograd;
using TorchFlash.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>Attention by an engine: puts tensors into the engine's terms, and a node into the graph where one is needed.</summary>
internal static class FusedAttention
{
    // On CUDA devices a pass is only enqueued, on the default stream, which is where libtorch's own kernels of this thread run: no API
    // of TorchSharp sets another. What makes that safe once the managed side has let go of a tensor: the caching allocator hands a freed
    // block on only to what is enqueued on the same stream, hence later. So operands and workspace need to live until the launch has
    // been enqueued, no longer.
    private static ExecutionOptions Options => new() { Threads = get_num_threads(), Deterministic = flash.are_deterministic_algorithms_enabled() };

    /// <summary>O, [B, H, Nq, d_v].</summary>
    public static Tensor Attend(AttentionCall call)
    {
        // Everything but the result goes with this scope, the forward pass's own wrappers of what it saved among it: one of them
        // left alive would keep the node, and with it every saved tensor, alive.
        using DisposeScope scope = NewDisposeScope();
        FusedPass pass = new(call.Problem);
        Tensor output = NeedsGraph(call)
            ? AttentionFunction.apply(call.Query, call.Key, call.Value, pass)
            : Forward(pass, call.Query, call.Key, call.Value);
        return output.MoveToOuterDisposeScope();
    }

    /// <summary>O, [B, H, Nq, d_v], and the weights averaged over heads, [B, Nq, Nk].</summary>
    public static (Tensor Output, Tensor Weights) AttendWithWeights(AttentionCall call)
    {
        using DisposeScope scope = NewDisposeScope();
        FusedPass pass = new(call.Problem);
        bool graph = NeedsGraph(call);
        Tensor output = graph
            ? AttentionFunction.apply(call.Query, call.Key, call.Value, pass)
            : Forward(pass, call.Query, call.Key, call.Value);
        Tensor weights = graph
            ? AttentionWeightsFunction.apply(call.Query, call.Key, pass)
            : AverageWeights(pass, call.Query, call.Key);
        return (output.MoveToOuterDisposeScope(), weights.MoveToOuterDisposeScope());
    }

    private static bool NeedsGraph(AttentionCall call) =>
        is_grad_enabled() && (call.Query.requires_grad || call.Key.requires_grad || call.Value.requires_grad);

    /// <summary>O; leaves Q, K, V as the engine read them, and the row statistics, in the pass.</summary>
    public static Tensor Forward(FusedPass pass, Tensor query, Tensor key, Tensor value)
    {
        BackwardGuard.ReleaseReturned();
        AttentionProblem problem = pass.Problem;
        Tensor q = pass.Query = TensorMemory.Readable(query);
        Tensor k = pass.Key = TensorMemory.Readable(key);
        Tensor v = pass.Value = TensorMemory.Readable(value);
        Tensor o = TensorMemory.EmptyInOrderOf(q, problem.ValueDim);
        Tensor m = pass.Max = EmptyStatistic(problem, q.device);
        Tensor l = pass.Sum = EmptyStatistic(problem, q.device);
        Engines.Required(q).Forward(
            problem,
            new ForwardArguments
            {
                Query = TensorMemory.View(q),
                Key = TensorMemory.View(k),
                Value = TensorMemory.View(v),
                Output = TensorMemory.View(o),
                Statistics = new RowStatistics(TensorMemory.Data(m), TensorMemory.Data(l)),
            },
            Options);
        KeepAlive(q, k, v, o, m, l);
        return o;
    }

    /// <summary>dQ, dK, dV, each in the memory order of its operand.</summary>
    public static (Tensor Query, Tensor Key, Tensor Value) Backward(
        AttentionProblem problem, Tensor q, Tensor k, Tensor v, Tensor o, Tensor m, Tensor l, Tensor outputGradient)
    {
        Tensor dO = TensorMemory.Readable(outputGradient); // sum() hands in strides of 0.
        Tensor dQ = TensorMemory.EmptyInOrderOf(q, problem.HeadDim);
        Tensor dK = TensorMemory.EmptyInOrderOf(k, problem.HeadDim);
        Tensor dV = TensorMemory.EmptyInOrderOf(v, problem.ValueDim);
        IAttentionEngine engine = Engines.Required(q);
        ExecutionOptions options = Options;
        using Workspace workspace = new(engine.BackwardWorkspace(problem, options), q.device);
        engine.Backward(
            problem,
            new BackwardArguments
            {
                Query = TensorMemory.View(q),
                Key = TensorMemory.View(k),
                Value = TensorMemory.View(v),
                Output = TensorMemory.View(o),
                OutputGradient = TensorMemory.View(dO),
                Statistics = new RowStatistics(TensorMemory.Data(m), TensorMemory.Data(l)),
                QueryGradient = TensorMemory.View(dQ),
                KeyGradient = TensorMemory.View(dK),
                ValueGradient = TensorMemory.View(dV),
                Workspace = workspace.Address,
            },
            options);
        KeepAlive(q, k, v, o, m, l, dO, dQ, dK, dV);
        return (dQ, dK, dV);
    }

    /// <summary>1/H sum over heads of P, [B, Nq, Nk], from the statistics that the forward pass left in the pass.</summary>
    public static Tensor AverageWeights(FusedPass pass, Tensor query, Tensor key)
    {
        AttentionProblem problem = pass.Problem;
        Tensor q = TensorMemory.Readable(query);
        Tensor k = TensorMemory.Readable(key);
        Tensor w = empty([problem.Batch, problem.QueryLength, problem.KeyLength], dtype: q.dtype, device: q.device);
        Engines.Required(q).AverageWeights(
            problem,
            new WeightsArguments
            {
                Query = TensorMemory.View(q),
                Key = TensorMemory.View(k),
                Statistics = new RowStatistics(TensorMemory.Data(pass.Max!), TensorMemory.Data(pass.Sum!)),
                Weights = new TensorView(
                    TensorMemory.Data(w), (long)problem.QueryLength * problem.KeyLength, 0, problem.KeyLength),
            },
            Options);
        KeepAlive(q, k, pass.Max!, pass.Sum!, w);
        return w;
    }

    /// <summary>Room for m or l, [B, H, Nq], in the type that an engine computes in.</summary>
    private static Tensor EmptyStatistic(in AttentionProblem problem, Device device)
    {
        ScalarType type = problem.ElementType == ElementType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        return empty([problem.Batch, problem.Heads, problem.QueryLength], dtype: type, device: device);
    }

    /// <summary>A tensor that nobody refers to any more may be finalised, and its memory freed, while an engine still uses it.</summary>
    private static void KeepAlive(params ReadOnlySpan<Tensor> tensors)
    {
        foreach (Tensor tensor in tensors)
            GC.KeepAlive(tensor);
    }
}
