using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace TorchFlash.Arguments;

/// <summary>Refuses arguments that do not fit, before any work is done: which argument, what it got, what it takes.</summary>
internal static class ArgumentChecks
{
    /// <summary>Neither null nor disposed.</summary>
    public static void Usable([NotNull] Tensor? tensor, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        if (tensor.IsInvalid)
            Refuse(name, "takes a tensor", "one that has been disposed");
    }

    /// <summary>Of a type that a softmax can be computed in.</summary>
    public static void FloatingPoint(Tensor tensor, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        if (tensor.dtype is not (ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Float32 or ScalarType.Float64))
            Refuse(name, "takes Float32, Float64, Float16 or BFloat16", tensor.dtype);
    }

    /// <summary>Of the type and on the device of another argument.</summary>
    public static void SameKind(
        Tensor tensor,
        Tensor other,
        [CallerArgumentExpression(nameof(tensor))] string name = "",
        [CallerArgumentExpression(nameof(other))] string otherName = "")
    {
        if (tensor.dtype != other.dtype)
            Refuse(name, $"takes the type of {otherName}, {other.dtype}", tensor.dtype);
        SameDevice(tensor, other, name, otherName);
    }

    /// <summary>On the device of another argument.</summary>
    public static void SameDevice(Tensor tensor, Tensor other, string name, string otherName = "query")
    {
        if (tensor.device_type != other.device_type || tensor.device_index != other.device_index)
            Refuse(name, $"takes a tensor on the device of {otherName}, {other.device}", tensor.device);
    }

    /// <summary>A probability.</summary>
    public static void Probability(double p, [CallerArgumentExpression(nameof(p))] string name = "")
    {
        if (!(p is >= 0 and <= 1))
            Refuse(name, "takes a probability, 0 to 1", p);
    }

    /// <summary>A size that a head can have.</summary>
    public static void HeadDimension(long size, [CallerArgumentExpression(nameof(size))] string name = "")
    {
        if (size is < 1 or > Kernels.AttentionProblem.MaxHeadDim)
            Refuse(name, $"takes 1 to {Kernels.AttentionProblem.MaxHeadDim}", size);
    }

    /// <summary>A size of 1 or more, where it is given.</summary>
    public static void Positive(long? size, [CallerArgumentExpression(nameof(size))] string name = "")
    {
        if (size < 1)
            Refuse(name, "takes 1 or more", size);
    }

    /// <summary>A shape as people write it.</summary>
    public static string Text(long[] shape) => $"[{string.Join(", ", shape)}]";

    /// <summary>The one form of every refusal.</summary>
    public static ArgumentException Refusal(string name, string takes, object? got) =>
        new(FormattableString.Invariant($"{name} {takes}; it got {got}."), name);

    /// <summary>Throws a <see cref="Refusal"/>.</summary>
    [DoesNotReturn]
    public static void Refuse(string name, string takes, object? got) => throw Refusal(name, takes, got);
}
