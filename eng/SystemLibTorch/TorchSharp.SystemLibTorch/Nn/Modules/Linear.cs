using TorchSharp.Utils;
using static TorchSharp.torch;

namespace TorchSharp.Modules
{
    /// <summary>y = x Wᵀ + b, with W of shape (out_features, in_features) and b of shape (out_features).</summary>
    public sealed class Linear : nn.Module<Tensor, Tensor>
    {
        [ComponentName(Name = nameof(weight))]
        private Parameter? weightField;

        [ComponentName(Name = nameof(bias))]
        private Parameter? biasField;

        internal Linear(Parameter weight, Parameter? bias)
            : base(nameof(Linear))
        {
            out_features = weight.shape[0];
            in_features = weight.shape[1];
            this.weight = weight;
            this.bias = bias;
        }

        internal Linear(long inputSize, long outputSize, bool hasBias, Device? device, ScalarType? dtype)
            : base(nameof(Linear))
        {
            in_features = inputSize;
            out_features = outputSize;
            weight = new Parameter(empty([outputSize, inputSize], dtype, device));
            nn.init.kaiming_uniform_(weight, a: Math.Sqrt(5));
            if (!hasBias) return;

            bias = new Parameter(empty([outputSize], dtype, device));
            var bound = inputSize > 0 ? 1 / Math.Sqrt(inputSize) : 0;
            nn.init.uniform_(bias, -bound, bound);
        }

        /// <summary>Number of features that go in.</summary>
        public long in_features { get; set; }

        /// <summary>Number of features that come out.</summary>
        public long out_features { get; set; }

        /// <summary>W, of shape (out_features, in_features). Setting it disposes the one before.</summary>
        public Parameter weight
        {
            get => weightField!;
            set => ReplaceField(ref weightField, nameof(weight), value ?? throw new ArgumentNullException(nameof(value)));
        }

        /// <summary>b, of shape (out_features), or null. Setting it disposes the one before.</summary>
        public Parameter? bias
        {
            get => biasField;
            set => ReplaceField(ref biasField, nameof(bias), value);
        }

        /// <summary>Applies the layer.</summary>
        /// <param name="tensor">x, of shape (..., in_features).</param>
        /// <returns>y, of shape (..., out_features).</returns>
        public override Tensor forward(Tensor tensor) => nn.functional.linear(tensor, weight, bias);
    }
}

namespace TorchSharp
{
    public static partial class torch
    {
        public static partial class nn
        {
            /// <summary>A linear layer, y = x Wᵀ + b, both uniform in ±1/√inputSize.</summary>
            /// <param name="inputSize">Number of features that go in.</param>
            /// <param name="outputSize">Number of features that come out.</param>
            /// <param name="hasBias">Whether there is a b.</param>
            /// <param name="device">Device of the parameters.</param>
            /// <param name="dtype">Element type of the parameters.</param>
            public static Modules.Linear Linear(long inputSize, long outputSize, bool hasBias = true, Device? device = null, ScalarType? dtype = null) =>
                new(inputSize, outputSize, hasBias, device, dtype);

            /// <summary>A linear layer over given parameters.</summary>
            /// <param name="weight">W, of shape (out_features, in_features).</param>
            /// <param name="bias">b, of shape (out_features), or null.</param>
            public static Modules.Linear Linear(Modules.Parameter weight, Modules.Parameter? bias = null) => new(weight, bias);
        }
    }
}
