using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.autograd;

namespace TorchFlash.Attention;

/// <summary>What is wanted of an attention besides O.</summary>
/// <param name="Weights">P after dropout, averaged over heads.</param>
/// <param name="PerHead">P of every head instead of the average.</param>
/// <param name="LogSumExp">The rows' log-sum-exp.</param>
internal sealed record WantedResults(bool Weights = false, bool PerHead = false, bool LogSumExp = false);

/// <summary>What an attention gives; null where it is not wanted.</summary>
/// <param name="Output">O, [B, H, Nq, d_v].</param>
/// <param name="Weights">W, [B, Nq, Nk], or [B, H, Nq, Nk].</param>
/// <param name="LogSumExp">[B, H, Nq], in the type that is computed in.</param>
internal readonly record struct AttentionResults(Tensor Output, Tensor? Weights, Tensor? LogSumExp);

/// <summary>
/// The results of an attention as one node of the graph. Arguments: the operands, the <see cref="EnginePass"/>, what is wanted. Saves the
/// operands, O and the rows' m and l, from which the backward pass recomputes S and P tile by tile.
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

    /// <summary>What is wanted, with a node where an operand requires a gradient.</summary>
    public static AttentionResults Attend(EnginePass pass, AttentionOperands operands, WantedResults wanted)
    {
        ReleaseReturned();
        Tensor[] tensors = operands.ToArray();
        if (!is_grad_enabled() || !Array.Exists(tensors, tensor => tensor.requires_grad))
        {
            (AttentionResults only, Tensor statistics) = Forward(pass, operands.Readable(), wanted);
            statistics.Dispose();
            return only;
        }
        // Everything but the results goes with this scope, the forward pass's own wrappers of what it saved among it: one of them
        // left alive would keep the node, and with it every saved tensor, alive.
        using DisposeScope scope = NewDisposeScope();
        // Copies are made out here, where the graph knows of them. A leaf takes over a gradient that nobody else refers to and copies any
        // other, such as those in t_returned; a view between makes it the former.
        tensors = Array.ConvertAll(operands.Readable().ToArray(), x => x.is_leaf && x.requires_grad ? x.view(TensorMemory.Sizes(x)) : x);
        List<Tensor> results = apply([.. tensors, pass, wanted]);
        foreach (Tensor result in results)
            result.MoveToOuterDisposeScope();
        return new(results[0], wanted.Weights ? results[1] : null, wanted.LogSumExp ? results[^1] : null);
    }

    public override List<Tensor> forward(AutogradContext ctx, params object[] vars)
    {
        Tensor[] tensors = Array.ConvertAll(vars[..^2], operand => (Tensor)operand);
        (EnginePass pass, WantedResults wanted) = ((EnginePass)vars[^2], (WantedResults)vars[^1]);
        (AttentionResults results, Tensor statistics) = Forward(pass, AttentionOperands.From(tensors, pass.Problem), wanted);
        ctx.set_materialize_grads(false);
        ctx.save_data(nameof(Node), new Node(pass, wanted, Array.ConvertAll(tensors, tensor => tensor.requires_grad)));
        ctx.save_for_backward([.. tensors, results.Output, statistics]);
        List<Tensor> all = [results.Output];
        if (results.Weights is not null)
            all.Add(results.Weights);
        if (results.LogSumExp is not null)
            all.Add(results.LogSumExp);
        return all;
    }

    private static (AttentionResults Results, Tensor Statistics) Forward(EnginePass pass, AttentionOperands operands, WantedResults wanted)
    {
        (Tensor o, Tensor statistics) = pass.Forward(operands);
        Tensor? weights = wanted.Weights ? pass.Weights(operands, statistics, wanted.PerHead) : null;
        return (new(o, weights, wanted.LogSumExp ? pass.LogSumExp(statistics) : null), statistics);
    }

    // Called by libtorch's C++ engine: an exception that left this would end the process, and what it returns is read after it has.
    public override List<Tensor> backward(AutogradContext ctx, List<Tensor> grad_outputs)
    {
        ReleaseReturned();
        Node node = (Node)ctx.get_data(nameof(Node));
        try
        {
            using DisposeScope scope = NewDisposeScope();
            t_returned = Gradients(ctx, node, grad_outputs.ConvertAll(gradient => gradient.IsInvalid ? null : gradient));
            foreach (Tensor? gradient in t_returned)
                gradient?.DetachFromDisposeScope();
            foreach (Tensor gradient in grad_outputs)
                gradient.Dispose();
        }
        catch (Exception exception)
        {
            LastException = exception;
            Warn(exception);
            // libtorch refuses gradients of the wrong shape, and that does come out of backward() as an exception. It would sum a
            // gradient over dimensions that its tensor lacks or has as 1, but never adds one, and every operand has one at least.
            t_returned = [.. node.RequiresGradient.Select(_ => tensor(0.0).DetachFromDisposeScope())];
        }
        return new List<Tensor>(t_returned!) { null!, null! };
    }

    /// <summary>The gradients of the operands; null for what no gradient reaches.</summary>
    private static Tensor?[] Gradients(AutogradContext ctx, Node node, List<Tensor?> incoming)
    {
        (EnginePass pass, WantedResults wanted, bool[] requiresGradient) = node;
        Tensor? dO = incoming[0], dW = wanted.Weights ? incoming[1] : null, dLSE = wanted.LogSumExp ? incoming[^1] : null;
        int count = requiresGradient.Length;
        if (incoming.TrueForAll(gradient => gradient is null))
            return new Tensor?[count];
        Tensor[] saved = [.. ctx.get_saved_variables()];
        AttentionOperands operands = AttentionOperands.From(saved[..count], pass.Problem);
        if (is_grad_enabled()) // The gradients are to be differentiated in their turn: create_graph.
            return new ComposedAttention(pass.Problem, operands).Gradients(dO, dW, dLSE);
        Tensor?[] gradients = dO is null && dLSE is null ? new Tensor?[count]
            : pass.Backward(operands, saved[count], saved[count + 1], dO, dLSE, requiresGradient);
        if (dW is not null)
            AddThroughWeights(gradients, pass.Problem, operands, dW, requiresGradient);
        return gradients;
    }

    /// <summary>Head by head: whatever their number, there are no more than a few matrices of the size of one at a time.</summary>
    private static void AddThroughWeights(Tensor?[] gradients, in Kernels.AttentionProblem problem, AttentionOperands operands, Tensor dW, bool[] requiresGradient)
    {
        Tensor[] tensors = operands.ToArray();
        for (int i = 0; i < tensors.Length; i++)
        {
            if (i < 2 || requiresGradient[i] && i > 2) // Weights do not depend on V.
                gradients[i] ??= (i < 2 ? TensorMemory.EmptyInOrderOf(tensors[i], problem.HeadDim) : empty_like(tensors[i])).fill_(0);
        }
        for (long h = 0, group = problem.Heads / Math.Max(operands.Key.size(1), 1); h < problem.Heads; h++)
        {
            using DisposeScope scope = NewDisposeScope();
            AttentionOperands head = new(
                operands.Query.narrow(1, h, 1), operands.Key.narrow(1, h / group, 1), operands.Value.narrow(1, h / group, 1), operands.Captured, operands.Sinks?.narrow(0, h, 1));
            Tensor?[] parts = new ComposedAttention(problem, head, h).Gradients(null, dW.dim() == 4 ? dW.narrow(1, h, 1) : dW, null);
            for (int i = 0; i < tensors.Length; i++)
            {
                if (gradients[i] is not { } sum || parts[i] is not { } part)
                    continue;
                bool isSinks = i == 3 + operands.Captured.Length;
                (i == 0 ? sum.narrow(1, h, 1) : i == 1 ? sum.narrow(1, h / group, 1) : isSinks ? sum.narrow(0, h, 1) : sum).add_(part);
            }
        }
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

    /// <summary>What the backward pass needs besides tensors.</summary>
    private sealed record Node(EnginePass Pass, WantedResults Wanted, bool[] RequiresGradient);
}
