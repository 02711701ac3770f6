using System.Globalization;

namespace TorchFlash.Kernels.Cuda;

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
