namespace TorchSharp;

public static partial class torch
{
    public static partial class nn
    {
        public static partial class functional
        {
            /// <summary>y = x Wᵀ + b.</summary>
            /// <param name="input">x, of shape (..., in).</param>
            /// <param name="weights">W, of shape (out, in).</param>
            /// <param name="bias">b, of shape (out), or null.</param>
            /// <returns>y, of shape (..., out).</returns>
            public static Tensor linear(Tensor input, Tensor weights, Tensor? bias = null) => Operator.Call("linear", "", input, weights, bias);

            /// <summary>Layer normalisation over the last dimensions.</summary>
            /// <param name="input">The input.</param>
            /// <param name="normalized_shape">Sizes of the dimensions to normalise over.</param>
            /// <param name="weight">Factors, of the normalised shape, or null.</param>
            /// <param name="bias">Summands, of the normalised shape, or null.</param>
            /// <param name="eps">Added to the variance.</param>
            public static Tensor layer_norm(Tensor input, long[] normalized_shape, Tensor? weight = null, Tensor? bias = null, double eps = 1e-5) =>
                Operator.Call("layer_norm", "", input, normalized_shape, weight, bias, eps);

            /// <summary>Zeroes elements at random and scales the others by 1 / (1 - p).</summary>
            /// <param name="input">The input.</param>
            /// <param name="p">Probability of an element to be zeroed.</param>
            /// <param name="training">False makes it do nothing.</param>
            /// <param name="inplace">Whether to change the input itself.</param>
            public static Tensor dropout(Tensor input, double p = 0.5, bool training = true, bool inplace = false) =>
                Operator.Call(inplace ? "dropout_" : "dropout", "", input, p, training);
        }
    }
}
