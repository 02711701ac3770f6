using static TorchSharp.torch;

namespace TorchSharp;

/// <summary>Extensions of <see cref="Tensor"/>.</summary>
public static partial class TensorExtensionMethods
{
    /// <summary>Bytes of one element.</summary>
    public static int ElementSize(this ScalarType type) => type switch
    {
        ScalarType.Byte or ScalarType.Int8 or ScalarType.Bool => 1,
        ScalarType.Int16 or ScalarType.Float16 or ScalarType.BFloat16 => 2,
        ScalarType.Int32 or ScalarType.Float32 => 4,
        ScalarType.Int64 or ScalarType.Float64 or ScalarType.ComplexFloat32 => 8,
        ScalarType.ComplexFloat64 => 16,
        _ => throw new NotImplementedException($"element type {type}"),
    };

    /// <summary>The one element of the tensor.</summary>
    public static Half ToHalf(this Tensor value) => value.ToScalar().ToHalf();

    /// <inheritdoc cref="ToHalf"/>
    public static float ToSingle(this Tensor value) => value.ToScalar().ToSingle();

    /// <inheritdoc cref="ToHalf"/>
    public static double ToDouble(this Tensor value) => value.ToScalar().ToDouble();

    /// <inheritdoc cref="ToHalf"/>
    public static byte ToByte(this Tensor value) => value.ToScalar().ToByte();

    /// <inheritdoc cref="ToHalf"/>
    public static short ToInt16(this Tensor value) => value.ToScalar().ToInt16();

    /// <inheritdoc cref="ToHalf"/>
    public static int ToInt32(this Tensor value) => value.ToScalar().ToInt32();

    /// <inheritdoc cref="ToHalf"/>
    public static long ToInt64(this Tensor value) => value.ToScalar().ToInt64();

    /// <inheritdoc cref="ToHalf"/>
    public static bool ToBoolean(this Tensor value) => value.ToScalar().ToBoolean();
}
