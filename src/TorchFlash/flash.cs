using TorchFlash.Attention;

namespace TorchFlash;

/// <summary>
/// FlashAttention for TorchSharp. The functions and modules stand where TorchSharp has theirs: <c>torch.nn.functional.x</c> becomes
/// <c>flash.nn.functional.x</c>.
/// </summary>
/// <remarks>
/// After <c>backward()</c> what an attention has saved for it (query, key, value, the output and two numbers a row) lives on as long as
/// its output does: the nodes of TorchSharp's own functions free nothing before. Dispose of the output and what was computed from it
/// when a step has ended; a <c>using var scope = torch.NewDisposeScope();</c> around the step does so.
/// </remarks>
public static partial class flash
{
    /// <summary>
    /// Receives what must not go unnoticed, such as a fall-back to libtorch, which each receiver is told once; the standard error
    /// stream by default.
    /// </summary>
    public static Action<string> warn
    {
        get => Settings.Warn;
        set => Settings.Warn = value;
    }

    /// <summary>
    /// The exception that ended the last backward pass that failed inside an attention, null when none has: an operand or an output was
    /// changed in place since, or memory has run out. What <c>backward()</c> itself throws then is libtorch's complaint about a gradient of
    /// the shape [], as nothing else comes through its C++ engine; <c>autograd.grad</c>, which in TorchSharp lets no exception out,
    /// ends the process.
    /// </summary>
    public static Exception? last_backward_exception => AttentionFunction.LastException;

    /// <summary>
    /// Whether passes from now on must give the same bits whenever they are repeated, until the result is disposed. The CPU engine always
    /// does so. The CUDA engine sums dQ of float16 and bfloat16 in the order in which tiles happen to end, unless this is on: then a kernel
    /// of its own computes dQ, in more time. A backward pass takes what holds when it runs. PyTorch's function; TorchSharp declares it and
    /// does not implement it.
    /// </summary>
    /// <param name="mode">On or off.</param>
    /// <param name="warn_only">
    /// Calls that no engine takes and libtorch's own attention gets, whose backward pass need not be deterministic, are announced as ever
    /// instead of refused.
    /// </param>
    /// <returns>Restores what held before when it is disposed, which nobody needs to do.</returns>
    public static IDisposable use_deterministic_algorithms(bool mode = true, bool warn_only = false)
    {
        Restoration restoration = new(Settings.Determinism);
        Settings.Determinism = new(mode, warn_only);
        return restoration;
    }

    /// <summary>What <see cref="use_deterministic_algorithms"/> has set, false at first.</summary>
    public static bool are_deterministic_algorithms_enabled() => Settings.Determinism.Required;

    /// <summary>Whether <see cref="use_deterministic_algorithms"/> was told to refuse nothing, false at first.</summary>
    public static bool is_deterministic_algorithms_warn_only_enabled() => Settings.Determinism.WarnOnly;

    private sealed class Restoration(Determinism before) : IDisposable
    {
        public void Dispose() => Settings.Determinism = before;
    }
}
