namespace TorchFlash.Kernels;

/// <summary>One implementation of the algorithm on one kind of device.</summary>
public interface IAttentionEngine
{
    /// <summary>Short name: "cpu", "cuda".</summary>
    string Name { get; }

    /// <summary>One line for people: what this engine runs on and how.</summary>
    string Describe();

    /// <summary>Null where this engine takes the (valid) problem, else why it does not.</summary>
    string? Refusal(in AttentionProblem problem);

    /// <summary>Bytes that <see cref="BackwardArguments.Workspace"/> must have, 0 where it may be null.</summary>
    long BackwardWorkspace(in AttentionProblem problem, in ExecutionOptions options = default);

    /// <summary>O = softmax(scale Q Kᵀ) V, and the row statistics (FlashAttention-2, algorithm 1).</summary>
    /// <exception cref="ArgumentException">The problem or an operand is not valid; nothing was written.</exception>
    /// <exception cref="NotSupportedException">The engine does not take the problem, see <see cref="Refusal"/>; nothing was written.</exception>
    void Forward(in AttentionProblem problem, in ForwardArguments arguments, in ExecutionOptions options = default);

    /// <summary>dQ, dK and dV from dO, with S and P recomputed from the row statistics (FlashAttention-2, algorithm 2).</summary>
    /// <exception cref="ArgumentException">The problem or an operand is not valid; nothing was written.</exception>
    /// <exception cref="NotSupportedException">The engine does not take the problem, see <see cref="Refusal"/>; nothing was written.</exception>
    void Backward(in AttentionProblem problem, in BackwardArguments arguments, in ExecutionOptions options = default);

    /// <summary>The weights P averaged over heads, recomputed in tiles from the row statistics (ValueDim must be valid, but changes nothing).</summary>
    /// <exception cref="ArgumentException">The problem or an operand is not valid; nothing was written.</exception>
    /// <exception cref="NotSupportedException">The engine does not take the problem, see <see cref="Refusal"/>; nothing was written.</exception>
    void Weights(in AttentionProblem problem, in WeightsArguments arguments, in ExecutionOptions options = default);

    /// <summary>
    /// Compiles what the passes over such a problem need, as far as that can be told without the operands, so that the first of them need
    /// not. An engine that compiles nothing has nothing to do.
    /// </summary>
    /// <param name="problem">The problem.</param>
    /// <param name="options">What of the passes.</param>
    /// <returns>The kernels, one line each.</returns>
    /// <exception cref="ArgumentException">The problem is not valid.</exception>
    /// <exception cref="NotSupportedException">The engine does not take the problem, see <see cref="Refusal"/>.</exception>
    IReadOnlyList<string> Precompile(in AttentionProblem problem, PrecompileOptions options = default) => [];
}
