namespace TorchSharp;

/// <summary>A number of any element type, for arguments that libtorch declares as <c>Scalar</c>.</summary>
public sealed class Scalar : IDisposable
{
    internal Scalar(object value, torch.ScalarType type)
    {
        Value = value;
        Type = type;
    }

    /// <summary>A <see cref="long"/>, <see cref="double"/> or <see cref="bool"/>.</summary>
    internal object Value { get; }

    /// <summary>The element type libtorch gives the number: integers are 64-bit, floating-point numbers double.</summary>
    public torch.ScalarType Type { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    /// <summary>The number as a scalar.</summary>
    public static implicit operator Scalar(byte value) => value.ToScalar();

    /// <inheritdoc cref="op_Implicit(byte)"/>
    public static implicit operator Scalar(sbyte value) => value.ToScalar();

    /// <inheritdoc cref="op_Implicit(byte)"/>
    public static implicit operator Scalar(short value) => value.ToScalar();

    /// <inheritdoc cref="op_Implicit(byte)"/>
    public static implicit operator Scalar(int value) => value.ToScalar();

    /// <inheritdoc cref="op_Implicit(byte)"/>
    public static implicit operator Scalar(long value) => value.ToScalar();

    /// <inheritdoc cref="op_Implicit(byte)"/>
    public static implicit operator Scalar(Half value) => value.ToScalar();

    /// <inheritdoc cref="op_Implicit(byte)"/>
    public static implicit operator Scalar(float value) => value.ToScalar();

    /// <inheritdoc cref="op_Implicit(byte)"/>
    public static implicit operator Scalar(double value) => value.ToScalar();

    /// <inheritdoc cref="op_Implicit(byte)"/>
    public static implicit operator Scalar(bool value) => value.ToScalar();
}

/// <summary>Conversions between numbers and <see cref="Scalar"/>.</summary>
public static class ScalarExtensionMethods
{
    /// <summary>The number as a scalar.</summary>
    public static Scalar ToScalar(this byte value) => new((long)value, torch.ScalarType.Int64);

    /// <inheritdoc cref="ToScalar(byte)"/>
    public static Scalar ToScalar(this sbyte value) => new((long)value, torch.ScalarType.Int64);

    /// <inheritdoc cref="ToScalar(byte)"/>
    public static Scalar ToScalar(this short value) => new((long)value, torch.ScalarType.Int64);

    /// <inheritdoc cref="ToScalar(byte)"/>
    public static Scalar ToScalar(this int value) => new((long)value, torch.ScalarType.Int64);

    /// <inheritdoc cref="ToScalar(byte)"/>
    public static Scalar ToScalar(this long value) => new(value, torch.ScalarType.Int64);

    /// <inheritdoc cref="ToScalar(byte)"/>
    public static Scalar ToScalar(this Half value) => new((double)value, torch.ScalarType.Float64);

    /// <inheritdoc cref="ToScalar(byte)"/>
    public static Scalar ToScalar(this float value) => new((double)value, torch.ScalarType.Float64);

    /// <inheritdoc cref="ToScalar(byte)"/>
    public static Scalar ToScalar(this double value) => new(value, torch.ScalarType.Float64);

    /// <inheritdoc cref="ToScalar(byte)"/>
    public static Scalar ToScalar(this bool value) => new(value, torch.ScalarType.Bool);

    /// <summary>The scalar as a .NET number.</summary>
    public static Half ToHalf(this Scalar value) => (Half)value.ToDouble();

    /// <inheritdoc cref="ToHalf"/>
    public static float ToSingle(this Scalar value) => (float)value.ToDouble();

    /// <inheritdoc cref="ToHalf"/>
    public static double ToDouble(this Scalar value) => Convert.ToDouble(value.Value);

    /// <inheritdoc cref="ToHalf"/>
    public static sbyte ToSByte(this Scalar value) => (sbyte)value.ToInt64();

    /// <inheritdoc cref="ToHalf"/>
    public static byte ToByte(this Scalar value) => (byte)value.ToInt64();

    /// <inheritdoc cref="ToHalf"/>
    public static short ToInt16(this Scalar value) => (short)value.ToInt64();

    /// <inheritdoc cref="ToHalf"/>
    public static int ToInt32(this Scalar value) => (int)value.ToInt64();

    /// <inheritdoc cref="ToHalf"/>
    public static long ToInt64(this Scalar value) => value.Value is double real ? (long)real : Convert.ToInt64(value.Value);

    /// <inheritdoc cref="ToHalf"/>
    public static bool ToBoolean(this Scalar value) => Convert.ToBoolean(value.Value);
}
