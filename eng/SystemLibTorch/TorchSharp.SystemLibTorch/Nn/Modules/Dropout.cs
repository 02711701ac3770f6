using static TorchSharp.torch;

namespace TorchSharp.Modules
{
    /// <summary>Zeroes elements with probability p in training and scales the others by 1 / (1 - p); in evaluation it does nothing.</summary>
    public sealed class Dropout : ParameterLessModule<Tensor, Tensor>
    {
        internal Dropout(double p, bool inplace)
            : base(nameof(Dropout))
        {
            this.p = p;
            this.inplace = inplace;
        }

        /// <summary>Probability of an element to be zeroed.</summary>
        public double p { get; set; }

        /// <summary>Whether the input itself is changed.</summary>
        public bool inplace { get; set; }

        /// <summary>Applies the dropout.</summary>
        /// <param name="tensor">The input.</param>
        public override Tensor forward(Tensor tensor) => nn.functional.dropout(tensor, p, training, inplace);
    }
}

namespace TorchSharp
{
    public static partial class torch
    {
        public static partial class nn
        {
            /// <summary>Zeroes elements at random in training.</summary>
            /// <param name="p">Probability of an element to be zeroed.</param>
            /// <param name="inplace">Whether to change the input itself.</param>
            public static Modules.Dropout Dropout(double p = 0.5, bool inplace = false) => new(p, inplace);
        }
    }
}
