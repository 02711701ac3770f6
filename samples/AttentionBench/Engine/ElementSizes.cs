using TorchFlash.Kernels;

namespace AttentionBench.Engine;

internal static class ElementSizes
{
    /// <summary>Bytes of an element.</summary>
    public static int Bytes(this ElementType type) => type switch
    {
        ElementType.Float64 => 8,
        ElementType.Float32 => 4,
        _ => 2,
    };

    /// <summary>What it is computed in: types of 16 bits in binary32.</summary>
    public static ElementType Computed(this ElementType type) => type == ElementType.Float64 ? type : ElementType.Float32;
}
