namespace TorchSharp;

public static partial class torch
{
    public static partial class nn
    {
        public static partial class functional
        {
            /// <summary>The Gaussian error linear unit, y = x Φ(x).</summary>
            /// <param name="x">The input.</param>
            public static Tensor gelu(Tensor x) => gelu(x, false);

            /// <summary>The Gaussian error linear unit, y = x Φ(x).</summary>
            /// <param name="x">The input.</param>
            /// <param name="inplace">Whether to change the input itself.</param>
            public static Tensor gelu(Tensor x, bool inplace) => Operator.Call(inplace ? "gelu_" : "gelu", "", x);

            /// <summary>The rectified linear unit, y = max(x, 0).</summary>
            /// <param name="x">The input.</param>
            /// <param name="inplace">Whether to change the input itself.</param>
            public static Tensor relu(Tensor x, bool inplace = false) => Operator.Call(inplace ? "relu_" : "relu", "", x);

            /// <summary>exp(x) / Σ exp(x), the sum taken over one dimension.</summary>
            /// <param name="input">x.</param>
            /// <param name="dim">The dimension, negative ones counting from the end.</param>
            /// <param name="dtype">Element type to convert to first.</param>
            public static Tensor softmax(Tensor input, long dim, ScalarType? dtype = null) => Operator.Call("softmax", "int", input, dim, dtype);

            /// <summary>log(softmax(x)), computed without overflow.</summary>
            /// <param name="x">x.</param>
            /// <param name="dim">The dimension, negative ones counting from the end.</param>
            public static Tensor log_softmax(Tensor x, long dim) => Operator.Call("log_softmax", "int", x, dim);
        }
    }
}
