namespace TorchSharp;

public static partial class torch
{
    public static partial class nn
    {
        /// <summary>What a loss does with its values for the single elements.</summary>
        public enum Reduction : long
        {
            /// <summary>Returns them.</summary>
            None = 0,

            /// <summary>Returns their mean.</summary>
            Mean = 1,

            /// <summary>Returns their sum.</summary>
            Sum = 2,
        }

        public static partial class functional
        {
            /// <summary>The cross-entropy between the softmax of logits and the true classes, in nats.</summary>
            /// <param name="input">Logits, of shape (N, C) or (N, C, ...).</param>
            /// <param name="target">Class indices (int64), of shape (N) or (N, ...), or probabilities of the shape of the input.</param>
            /// <param name="weight">Weights of the classes, of shape (C), or null.</param>
            /// <param name="ignore_index">Class index whose elements do not count.</param>
            /// <param name="reduction">What to do with the values of the elements.</param>
            /// <param name="label_smoothing">Share of the target spread evenly over the classes.</param>
            public static Tensor cross_entropy(
                Tensor input, Tensor target, Tensor? weight = null, long ignore_index = -100, Reduction reduction = Reduction.Mean, double label_smoothing = 0.0) =>
                Operator.Call("cross_entropy_loss", "", input, target, weight, (long)reduction, ignore_index, label_smoothing);

            /// <summary>(x - y)².</summary>
            /// <param name="input">x.</param>
            /// <param name="target">y, of the same shape.</param>
            /// <param name="reduction">What to do with the values of the elements.</param>
            public static Tensor mse_loss(Tensor input, Tensor target, Reduction reduction = Reduction.Mean) =>
                Operator.Call("mse_loss", "", input, target, (long)reduction);
        }
    }
}
