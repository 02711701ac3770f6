namespace TorchFlash.Kernels;

/// <summary>Element type of query, key, value, output and their gradients.</summary>
public enum ElementType
{
    /// <summary>IEEE 754 binary32; computed in binary32.</summary>
    Float32,

    /// <summary>IEEE 754 binary64; computed in binary64 by the same kernels.</summary>
    Float64,
}
