using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.autograd;

namespace TorchFlash.Attention;

/// <summary>
/// O, and W = 1/H sum over heads of P where it is wanted, as one node of the graph. Arguments: Q, K, V, the <see cref="EnginePass"/>,
/// whether W is wanted. Saves Q, K, V, O and, for every row, m and l, from which the backward pass recomputes S and P tile by tile.
/// </summary>
internal sealed class AttentionFunction : MultiTensorFunction<AttentionFunction>
{
    /// <summary>
    /// The gradients that the last callback on this thread returned. libtorch takes its own references after the callback has ended; until
    /// then these must not be finalised, and nobody else would dispose them.
    /// </summary>
    [ThreadStatic]
    private static Tensor?[]? t_returned;

    /// <summary>The exception that ended the last backward pass that failed; null when none has.</summary>
    public static Exception? LastException { get; private set; }

    public override string Name => nameof(AttentionFunction);

    /// <summary>O, [B, H, Nq, d_v], and W, [B, Nq, Nk], or null where it is not wanted; with a node where an operand requires a gradient.</summary>
    public static (Tensor Output, Tensor? Weights) Attend(EnginePass pass, Tensor query, Tensor key, Tensor value, bool needWeights)
    {
        ReleaseReturned();
        // Everything but the results goes with this scope, the forward pass's own wrappers of what it saved among it: one of them
        // left alive would keep the node, and with it every saved tensor, alive.
        using DisposeScope scope = NewDisposeScope();
        bool needsNode = is_grad_enabled() && (query.requires_grad || key.requires_grad || value.requires_grad);
        object[] arguments = [Operand(query), Operand(key), Operand(value), pass, needWeights];
        List<Tensor> results = needsNode ? apply(arguments) : Forward(null, arguments);
        return (results[0].MoveToOuterDisposeScope(), needWeights ? results[1].MoveToOuterDisposeScope() : null);

        // Copies are made out here, where the graph knows of them. A leaf takes over a gradient that nobody else refers to and copies any
        // other, such as those in t_returned; a view between makes it the former.
        Tensor Operand(Tensor x)
        {
            x = TensorMemory.Readable(x);
            return needsNode && x.is_leaf ? x.view(TensorMemory.Sizes(x)) : x;
        }
    }

    public override List<Tensor> forward(AutogradContext ctx, params object[] vars) => Forward(ctx, vars);

    private static List<Tensor> Forward(AutogradContext? ctx, object[] vars)
    {
        (Tensor q, Tensor k, Tensor v) = ((Tensor)vars[0], (Tensor)vars[1], (Tensor)vars[2]);
        (EnginePass pass, bool needWeights) = ((EnginePass)vars[3], (bool)vars[4]);
        (Tensor o, Tensor m, Tensor l) = pass.Forward(q, k, v);
        ctx?.set_materialize_grads(false);
        ctx?.save_data(nameof(EnginePass), pass);
        ctx?.save_for_backward([q, k, v, o, m, l]);
        return needWeights ? [o, pass.Weights(q, k, m, l)] : [o];
    }

    // Called by libtorch's C++ engine: an exception that left this would end the process, and what it returns is read after it has.
    public override List<Tensor> backward(AutogradContext ctx, List<Tensor> grad_outputs)
    {
        ReleaseReturned();
        try
        {
            using DisposeScope scope = NewDisposeScope();
            t_returned = Gradients(ctx, Defined(grad_outputs[0]), grad_outputs.Count > 1 ? Defined(grad_outputs[1]) : null);
            foreach (Tensor? gradient in t_returned)
                gradient?.DetachFromDisposeScope();
            grad_outputs.ForEach(gradient => gradient.Dispose());
        }
        catch (Exception exception)
        {
            LastException = exception;
            Warn(exception);
            // libtorch refuses gradients of the wrong shape, and that does come out of backward() as an exception. It would sum a
            // gradient over dimensions that its tensor lacks or has as 1, but never adds one: three do not fit operands of four.
            t_returned = [.. Enumerable.Range(0, 3).Select(_ => empty(0, 7, 7).DetachFromDisposeScope())];
        }
        return [.. t_returned.Cast<Tensor>(), null!, null!];

        static Tensor? Defined(Tensor gradient) => gradient.IsInvalid ? null : gradient;
    }

    /// <summary>dQ, dK, dV; null for what no gradient reaches.</summary>
    private static Tensor?[] Gradients(AutogradContext ctx, Tensor? outputGradient, Tensor? weightsGradient)
    {
        if (outputGradient is null && weightsGradient is null)
            return [null, null, null];
        EnginePass pass = (EnginePass)ctx.get_data(nameof(EnginePass));
        List<Tensor> saved = ctx.get_saved_variables();
        (Tensor q, Tensor k, Tensor v) = (saved[0], saved[1], saved[2]);
        if (is_grad_enabled()) // The gradients are to be differentiated in their turn: create_graph.
            return ComposedAttention.Gradients(pass.Problem, q, k, v, outputGradient, weightsGradient);
        Tensor?[] gradients = [null, null, null];
        if (outputGradient is not null)
            (gradients[0], gradients[1], gradients[2]) = pass.Backward(q, k, v, saved[3], saved[4], saved[5], outputGradient);
        if (weightsGradient is not null)
        {
            Tensor dQ = gradients[0] ??= TensorMemory.EmptyInOrderOf(q, q.size(3)).fill_(0);
            Tensor dK = gradients[1] ??= TensorMemory.EmptyInOrderOf(k, k.size(3)).fill_(0);
            // Head by head: whatever their number, there are no more than a few matrices of the size of W at a time.
            for (long h = 0, group = pass.Problem.Heads / Math.Max(k.size(1), 1); h < pass.Problem.Heads; h++)
            {
                using DisposeScope scope = NewDisposeScope();
                Tensor[] head = [q.narrow(1, h, 1), k.narrow(1, h / group, 1), v.narrow(1, h / group, 1)];
                Tensor?[] part = ComposedAttention.Gradients(pass.Problem, head[0], head[1], head[2], null, weightsGradient);
                dQ.narrow(1, h, 1).add_(part[0]!);
                dK.narrow(1, h / group, 1).add_(part[1]!);
            }
        }
        return gradients;
    }

    private static void ReleaseReturned()
    {
        foreach (Tensor? gradient in t_returned ?? [])
            gradient?.Dispose();
        t_returned = null;
    }

    private static void Warn(Exception exception)
    {
        try
        {
            Settings.Warn($"TorchFlash: a backward pass failed: {exception.Message}");
        }
        catch
        {
            // Whatever the user's handler throws must not leave the callback either; LastException has the cause.
        }
    }
}
