namespace TorchSharp;

/// <summary>What padding is filled with.</summary>
public enum PaddingModes
{
    /// <summary>Zeros; the same as <see cref="Constant"/> with the value 0.</summary>
    Zeros = 0,

    /// <summary>The input mirrored at its edge.</summary>
    Reflect = 1,

    /// <summary>The element at the edge.</summary>
    Replicate = 2,

    /// <summary>The input from its other end.</summary>
    Circular = 3,

    /// <summary>A value.</summary>
    Constant = 4,
}

public static partial class torch
{
    public static partial class nn
    {
        public static partial class functional
        {
            /// <summary>Pads a tensor.</summary>
            /// <param name="input">The tensor.</param>
            /// <param name="pad">Numbers of elements to add before and after the last dimension, then the one before it, and so on.</param>
            /// <param name="mode">What to fill with.</param>
            /// <param name="value">The value of <see cref="PaddingModes.Constant"/>.</param>
            public static Tensor pad(Tensor input, long[] pad, PaddingModes mode = PaddingModes.Constant, double value = 0) => mode switch
            {
                PaddingModes.Reflect => Operator.Call("pad", "", input, pad, "reflect"),
                PaddingModes.Replicate => Operator.Call("pad", "", input, pad, "replicate"),
                PaddingModes.Circular => Operator.Call("pad", "", input, pad, "circular"),
                PaddingModes.Constant or PaddingModes.Zeros => Operator.Call("pad", "", input, pad, "constant", value),
                _ => throw new ArgumentOutOfRangeException(nameof(mode), mode, "Unknown padding mode."),
            };

            /// <summary>Pads the last dimension of a tensor.</summary>
            /// <param name="input">The tensor.</param>
            /// <param name="pad">Numbers of elements to add before and after.</param>
            /// <param name="mode">What to fill with.</param>
            /// <param name="value">The value of <see cref="PaddingModes.Constant"/>.</param>
            public static Tensor pad(Tensor input, (long, long) pad, PaddingModes mode = PaddingModes.Constant, double value = 0) =>
                functional.pad(input, [pad.Item1, pad.Item2], mode, value);

            /// <summary>The one-hot vectors of class indices.</summary>
            /// <param name="x">Indices (int64), of any shape.</param>
            /// <param name="num_classes">Number of classes; -1 takes the greatest index plus one.</param>
            /// <returns>An int64 tensor of the shape of the input with the classes' dimension appended.</returns>
            public static Tensor one_hot(Tensor x, long num_classes = -1)
            {
                if (x.dtype != ScalarType.Int64) throw new ArgumentException($"Expected indices of type Int64, got {x.dtype}.", nameof(x));
                return Operator.Call("one_hot", "", x, num_classes);
            }
        }
    }
}
