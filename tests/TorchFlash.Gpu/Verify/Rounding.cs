using System.Numerics;

namespace TorchFlash.Gpu.Verify;

/// <summary>What every intermediate result of a computation is rounded to.</summary>
internal interface IRounding
{
    /// <summary>The nearest number of the type.</summary>
    static abstract T Round<T>(T value) where T : unmanaged, IBinaryFloatingPointIeee754<T>;
}

/// <summary>Kept as it is.</summary>
internal readonly struct Unrounded : IRounding
{
    public static T Round<T>(T value) where T : unmanaged, IBinaryFloatingPointIeee754<T> => value;
}

/// <summary>To 8 significant bits, ties to even.</summary>
internal readonly struct ToBFloat16 : IRounding
{
    public static T Round<T>(T value) where T : unmanaged, IBinaryFloatingPointIeee754<T> => T.CreateChecked(ElementTypes16.RoundToBFloat16(float.CreateChecked(value)));
}

/// <summary>To 11 significant bits, ties to even.</summary>
internal readonly struct ToFloat16 : IRounding
{
    public static T Round<T>(T value) where T : unmanaged, IBinaryFloatingPointIeee754<T> => T.CreateChecked((float)(Half)float.CreateChecked(value));
}

/// <summary>Numbers of 16 bits.</summary>
internal static class ElementTypes16
{
    /// <summary>The nearest bfloat16, ties to even; NaN stays NaN.</summary>
    public static float RoundToBFloat16(float value) =>
        float.IsNaN(value) ? value : BitConverter.UInt32BitsToSingle((uint)BFloat16Bits(value) << 16);

    /// <summary>The bits of the nearest bfloat16.</summary>
    public static ushort BFloat16Bits(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? (ushort)(bits >> 16 | 0x40) : (ushort)(bits + 0x7FFF + (bits >> 16 & 1) >> 16);
    }
}
