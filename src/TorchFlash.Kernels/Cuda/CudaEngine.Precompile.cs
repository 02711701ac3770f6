namespace TorchFlash.Kernels.Cuda;

public sealed partial class CudaEngine
{
    /// <inheritdoc/>
    /// <remarks>
    /// Operands are taken to be laid out well (rows and addresses aligned to 16 bytes where the head dimensions are multiples of 8), and
    /// sizes other than the head dimensions, the type, the mask and the sign of the scale do not matter. Several kernels are compiled at once.
    /// </remarks>
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
