using System.Collections.Immutable;

namespace TorchFlash.Kernels.Cuda;

/// <summary>What tests and measurements change about the choice of kernels.</summary>
internal sealed record KernelTuning
{
    public static KernelTuning None { get; } = new();

    /// <summary>The kernels for every GPU since Ampere also where there are those for Hopper.</summary>
    public bool AvoidHopper { get; init; }

    /// <summary>Element-wise loads and stores also where all is aligned.</summary>
    public bool AvoidAligned { get; init; }

    /// <summary>Macros by kernel that are defined besides, or otherwise: K_BLOCK_M, K_BLOCK_N, K_STAGES, K_WARPS.</summary>
    public ImmutableDictionary<string, ImmutableList<(string Name, int Value)>> Macros { get; init; } = ImmutableDictionary<string, ImmutableList<(string Name, int Value)>>.Empty;

    /// <summary>The same with a macro for a kernel.</summary>
    public KernelTuning With(string kernel, string macro, int value) =>
        this with { Macros = Macros.SetItem(kernel, Macros.GetValueOrDefault(kernel, []).Add((macro, value))) };
}
