namespace TorchFlash.Kernels;

/// <summary>Which passes <see cref="IAttentionEngine.Precompile"/> prepares for.</summary>
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
