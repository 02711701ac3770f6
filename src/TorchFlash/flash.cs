using TorchFlash.Attention;
using TorchFlash.Autograd;

namespace TorchFlash;

/// <summary>
/// FlashAttention for TorchSharp. The functions and modules stand where TorchSharp has theirs: <c>torch.nn.functional.x</c> becomes
/// <c>flash.nn.functional.x</c>, with the same parameters in the same order.
/// </summary>
public static partial class flash
{
    /// <summary>
    /// Receives what must not go unnoticed, such as a fall-back to libtorch, which each receiver is told once; the standard error
    /// stream by default.
    /// </summary>
    public static Action<string> warn
    {
        get;
        set
        {
            field = value;
            FallBack.StartOver();
        }
    } = Console.Error.WriteLine;

    /// <summary>
    /// The exception that ended the last backward pass that failed inside an attention, null when none has. What <c>backward()</c> itself
    /// throws then is libtorch's complaint about a gradient of the shape [0, 7, 7]: nothing else comes through its C++ engine.
    /// </summary>
    public static Exception? last_backward_exception => BackwardGuard.LastException;
}
