using System.Globalization;

namespace TorchFlash.Kernels.Cuda;

/// <summary>A kernel, specialised: its source, the architecture it is compiled for, and the macros. Equal variants have equal texts.</summary>
/// <param name="Kernel">Name of the source without ".cu".</param>
/// <param name="Target">What is asked of NVRTC: "sm_80", "sm_90a" (machine code), "compute_90" (PTX, which the driver compiles).</param>
/// <param name="Macros">Names and values, sorted by name.</param>
internal sealed record KernelVariant(string Kernel, string Target, string Macros)
{
    /// <summary>Text of the score program (<see cref="ScoreText"/>); null: none.</summary>
    public string? Score { get; init; }

    /// <summary>Name of the kernel's function.</summary>
    public string EntryPoint => "torchflash_" + Kernel;

    /// <summary>Name of the kernel's source.</summary>
    public string FileName => Kernel + ".cu";

    /// <summary>Whether NVRTC ends with PTX.</summary>
    public bool IsPtx => Target.StartsWith("compute_", StringComparison.Ordinal);

    /// <summary>The options for NVRTC, in a fixed order.</summary>
    public IReadOnlyList<string> Options =>
        ["--std=c++17", "--gpu-architecture=" + Target, .. Macros.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(m => "-D" + m)];

    /// <param name="kernel">Name of the source without ".cu".</param>
    /// <param name="target">What is asked of NVRTC.</param>
    /// <param name="macros">Names and values in any order; a later value of a name replaces an earlier one.</param>
    public static KernelVariant Create(string kernel, string target, IEnumerable<(string Name, int Value)> macros)
    {
        var sorted = new SortedDictionary<string, int>(StringComparer.Ordinal);
        foreach ((string name, int value) in macros)
            sorted[name] = value;
        return new KernelVariant(kernel, target, string.Join(' ', sorted.Select(m => string.Create(CultureInfo.InvariantCulture, $"{m.Key}={m.Value}"))));
    }

    /// <summary>As in "forward_mma sm_80 K_ALIGNED=1 K_CAUSAL=0 ...".</summary>
    public override string ToString() => $"{Kernel} {Target} {Macros}{(Score is null ? "" : " with a score program")}";
}

/// <summary>What of a device decides about kernels.</summary>
/// <param name="Name">What NVRTC is asked for: "sm_80", "sm_90a", "compute_90".</param>
/// <param name="Architecture">As in sm_86: 86.</param>
/// <param name="SharedLimit">Bytes of shared memory that a block may have.</param>
/// <param name="HasTensorMaps">Whether the driver makes tensor maps.</param>
internal sealed record KernelTarget(string Name, int Architecture, int SharedLimit, bool HasTensorMaps)
{
    /// <summary>
    /// Machine code of this very GPU; with the instructions that only 9.0 has there; PTX of the newest that the compiler knows, for the driver
    /// to compile, where the GPU is newer than that.
    /// </summary>
    /// <param name="architecture">As in sm_86: 86.</param>
    /// <param name="known">What the compiler knows, in ascending order; empty where it does not say.</param>
    public static string NameFor(int architecture, IReadOnlyList<int> known)
    {
        if (architecture == 90)
            return "sm_90a";
        if (known.Count == 0 || known.Contains(architecture))
            return string.Create(CultureInfo.InvariantCulture, $"sm_{architecture}");
        int newest = known.Where(a => a < architecture).DefaultIfEmpty(known[0]).Max();
        return string.Create(CultureInfo.InvariantCulture, $"compute_{newest}");
    }
}
