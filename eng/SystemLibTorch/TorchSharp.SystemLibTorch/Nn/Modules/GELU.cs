using static TorchSharp.torch;

namespace TorchSharp.Modules
{
    /// <summary>y = x Φ(x), with Φ the distribution function of N(0, 1).</summary>
    public sealed class GELU : ParameterLessModule<Tensor, Tensor>
    {
        internal GELU(bool inplace)
            : base(nameof(GELU))
        {
            this.inplace = inplace;
        }

        /// <summary>Whether the input itself is changed.</summary>
        public bool inplace { get; set; }

        /// <summary>Applies the activation.</summary>
        /// <param name="tensor">x.</param>
        public override Tensor forward(Tensor tensor) => nn.functional.gelu(tensor, inplace);
    }
}

namespace TorchSharp
{
    public static partial class torch
    {
        public static partial class nn
        {
            /// <summary>The Gaussian error linear unit.</summary>
            public static Modules.GELU GELU() => new(false);

            /// <summary>The Gaussian error linear unit.</summary>
            /// <param name="inplace">Whether to change the input itself.</param>
            public static Modules.GELU GELU(bool inplace) => new(inplace);
        }
    }
}
