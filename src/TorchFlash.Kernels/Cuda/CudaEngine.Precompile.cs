namespace TorchFlash.Kernels.Cuda;

public sealed partial class CudaEngine
{
    /// <summary>
    /// Compiles and loads what the passes over such a problem need, as far as that can be told without the operands: these are taken to be
    /// laid out well (rows and addresses aligned to 16 bytes where the head dimensions are multiples of 8), and sizes other than the head
    /// dimensions, the type, the mask and the sign of the scale do not matter. Several kernels are compiled at once.
    /// </summary>
    /// <param name="problem">The problem.</param>
    /// <param name="options">What of the passes.</param>
    /// <returns>The kernels, one line each.</returns>
    /// <exception cref="CudaException">The driver or the compiler failed.</exception>
    public IReadOnlyList<string> Precompile(in AttentionProblem problem, PrecompileOptions options = default)
    {
        problem.Validate();
        Validation.Check(this, problem);
        KernelVariant[] variants = [.. Variants(problem, options).Distinct()];
        Parallel.ForEach(variants, variant => _ = Modules[variant]);
        return [.. variants.Select(v => v.ToString())];
    }

    /// <summary>What <see cref="Precompile"/> compiles.</summary>
    internal IEnumerable<KernelVariant> Variants(in AttentionProblem problem, PrecompileOptions options) => _choice.Variants(problem, options);
}

/// <summary>Which passes <see cref="CudaEngine.Precompile"/> prepares for.</summary>
public readonly record struct PrecompileOptions
{
    /// <summary>Leaves the backward pass out.</summary>
    public bool ForwardOnly { get; init; }

    /// <summary>The backward pass that <see cref="ExecutionOptions.Deterministic"/> asks for.</summary>
    public bool Deterministic { get; init; }

    /// <summary>The averaged weights besides.</summary>
    public bool Weights { get; init; }

    /// <summary>Operands whose rows are not aligned to 16 bytes.</summary>
    public bool Misaligned { get; init; }
}
