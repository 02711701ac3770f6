using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Autograd;

/// <summary>
/// Runs the body of a backward callback. The callback is called by libtorch's C++ engine: an exception that left it would end
/// the process, and what it returns is read after it has returned.
/// </summary>
internal static class BackwardGuard
{
    /// <summary>
    /// The gradients that the last callback on this thread returned. The engine has taken its own references by the time of the
    /// next callback; until then these must not be finalised, and nobody else would dispose them.
    /// </summary>
    [ThreadStatic]
    private static List<Tensor>? t_returned;

    /// <summary>The exception that ended the last backward pass that failed; null when none has.</summary>
    public static Exception? LastException { get; private set; }

    /// <summary>Gradients for <paramref name="tensors"/> tensor arguments followed by <paramref name="others"/> that are none.</summary>
    public static List<Tensor> Run(Tensor outputGradient, int tensors, int others, Func<List<Tensor>> body)
    {
        ReleaseReturned();
        List<Tensor> gradients;
        try
        {
            gradients = outputGradient.IsInvalid ? [.. new Tensor[tensors]] : Compute(body); // No gradient in, none out.
            outputGradient.Dispose();
        }
        catch (Exception exception)
        {
            LastException = exception;
            Warn(exception);
            // The engine refuses gradients of the wrong shape, and that does come out of backward() as an exception. It would sum a
            // gradient over dimensions that its tensor lacks or has as 1, but never adds one: three do not fit operands of four.
            gradients = [.. Enumerable.Range(0, tensors).Select(_ => empty(0, 7, 7).DetachFromDisposeScope())];
        }
        t_returned = gradients;
        return [.. gradients, .. new Tensor[others]];
    }

    /// <summary>Lets go of the gradients of the last callback on this thread, which the engine has taken over by now.</summary>
    public static void ReleaseReturned()
    {
        t_returned?.ForEach(tensor => tensor?.Dispose());
        t_returned = null;
    }

    private static void Warn(Exception exception)
    {
        try
        {
            flash.warn($"TorchFlash: a backward pass failed: {exception.Message}");
        }
        catch
        {
            // Whatever the user's handler throws must not leave the callback either; LastException has the cause.
        }
    }

    private static List<Tensor> Compute(Func<List<Tensor>> body)
    {
        if (is_grad_enabled())
            throw new NotSupportedException(
                "Attention cannot be differentiated twice: call backward() or grad() without create_graph, or use torch.nn.functional.scaled_dot_product_attention.");
        using DisposeScope scope = NewDisposeScope();
        List<Tensor> gradients = body();
        gradients.ForEach(tensor => tensor.DetachFromDisposeScope());
        return gradients;
    }
}
