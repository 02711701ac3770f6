using TorchSharp.Utils;
using static TorchSharp.torch;

namespace TorchSharp.Modules
{
    /// <summary>y = (x - E[x]) / √(Var[x] + eps) * weight + bias, with the moments taken over the last dimensions.</summary>
    public sealed class LayerNorm : nn.Module<Tensor, Tensor>
    {
        [ComponentName(Name = nameof(weight))]
        private Parameter? weightField;

        [ComponentName(Name = nameof(bias))]
        private Parameter? biasField;

        internal LayerNorm(long[] normalized_shape, double eps, bool elementwise_affine, bool bias, Device? device, ScalarType? dtype)
            : base(nameof(LayerNorm))
        {
            this.normalized_shape = normalized_shape;
            this.eps = eps;
            this.elementwise_affine = elementwise_affine;
            if (!elementwise_affine) return;

            weight = new Parameter(empty(normalized_shape, dtype, device));
            if (bias) this.bias = new Parameter(empty(normalized_shape, dtype, device));
            reset_parameters();
        }

        /// <summary>Sizes of the last dimensions, over which is normalised.</summary>
        public long[] normalized_shape { get; set; }

        /// <summary>Added to the variance.</summary>
        public double eps { get; set; }

        /// <summary>Whether there is a weight, and perhaps a bias.</summary>
        public bool elementwise_affine { get; set; }

        /// <summary>Factors, of the normalised shape. Setting them disposes the ones before.</summary>
        public Parameter weight
        {
            get => weightField!;
            set => ReplaceField(ref weightField, nameof(weight), value ?? throw new ArgumentNullException(nameof(value)));
        }

        /// <summary>Summands, of the normalised shape, or null. Setting them disposes the ones before.</summary>
        public Parameter? bias
        {
            get => biasField;
            set => ReplaceField(ref biasField, nameof(bias), value);
        }

        /// <summary>Sets the weight to one and the bias to zero.</summary>
        public void reset_parameters()
        {
            if (weightField is not null) nn.init.ones_(weightField);
            if (biasField is not null) nn.init.zeros_(biasField);
        }

        /// <summary>Applies the normalisation.</summary>
        /// <param name="tensor">x, whose last dimensions are the normalised shape.</param>
        /// <returns>y, of the shape of x.</returns>
        public override Tensor forward(Tensor tensor) => nn.functional.layer_norm(tensor, normalized_shape, weightField, biasField, eps);
    }
}

namespace TorchSharp
{
    public static partial class torch
    {
        public static partial class nn
        {
            /// <summary>Layer normalisation over the last dimensions.</summary>
            /// <param name="normalized_shape">Their sizes.</param>
            /// <param name="eps">Added to the variance.</param>
            /// <param name="elementwise_affine">Whether to multiply by a trained weight.</param>
            /// <param name="bias">Whether to add a trained bias too.</param>
            /// <param name="device">Device of the parameters.</param>
            /// <param name="dtype">Element type of the parameters.</param>
            public static Modules.LayerNorm LayerNorm(long[] normalized_shape, double eps = 1e-05, bool elementwise_affine = true, bool bias = true, Device? device = null, ScalarType? dtype = null) =>
                new(normalized_shape, eps, elementwise_affine, bias, device, dtype);

            /// <summary>Layer normalisation over the last dimension.</summary>
            /// <param name="normalized_shape">Its size.</param>
            /// <param name="eps">Added to the variance.</param>
            /// <param name="elementwise_affine">Whether to multiply by a trained weight.</param>
            /// <param name="bias">Whether to add a trained bias too.</param>
            /// <param name="device">Device of the parameters.</param>
            /// <param name="dtype">Element type of the parameters.</param>
            public static Modules.LayerNorm LayerNorm(long normalized_shape, double eps = 1e-05, bool elementwise_affine = true, bool bias = true, Device? device = null, ScalarType? dtype = null) =>
                new([normalized_shape], eps, elementwise_affine, bias, device, dtype);
        }
    }
}
