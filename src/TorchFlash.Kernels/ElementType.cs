namespace TorchFlash.Kernels;

/// <summary>Element type of query, key, value, output and their gradients.</summary>
public enum ElementType
{
    /// <summary>IEEE 754 binary32; computed in binary32.</summary>
    Float32,

    /// <summary>IEEE 754 binary64; computed in binary64 by the same kernels.</summary>
    Float64,

    /// <summary>The upper half of a binary32: 8 bits of exponent, 7 of fraction; products of such, sums and statistics in binary32.</summary>
    BFloat16,

    /// <summary>IEEE 754 binary16; products of such, sums and statistics in binary32.</summary>
    Float16,
}

internal static class ElementTypes
{
    /// <summary>Bytes of an element.</summary>
    public static int Size(this ElementType type) => type switch
    {
        ElementType.Float32 => 4,
        ElementType.Float64 => 8,
        _ => 2,
    };

    /// <summary>Bytes of what it is computed in, and of m and l.</summary>
    public static int ComputeSize(this ElementType type) => type == ElementType.Float64 ? 8 : 4;

    /// <summary>Whether the type is narrower than what it is computed in.</summary>
    public static bool IsHalfWidth(this ElementType type) => type is ElementType.BFloat16 or ElementType.Float16;
}
