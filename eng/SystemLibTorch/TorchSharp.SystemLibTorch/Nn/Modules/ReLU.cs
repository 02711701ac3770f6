using static TorchSharp.torch;

namespace TorchSharp.Modules
{
    /// <summary>y = max(x, 0).</summary>
    public sealed class ReLU : ParameterLessModule<Tensor, Tensor>
    {
        internal ReLU(bool inplace)
            : base(nameof(ReLU))
        {
            this.inplace = inplace;
        }

        /// <summary>Whether the input itself is changed.</summary>
        public bool inplace { get; set; }

        /// <summary>Applies the activation.</summary>
        /// <param name="tensor">x.</param>
        public override Tensor forward(Tensor tensor) => nn.functional.relu(tensor, inplace);
    }
}

namespace TorchSharp
{
    public static partial class torch
    {
        public static partial class nn
        {
            /// <summary>The rectified linear unit.</summary>
            /// <param name="inplace">Whether to change the input itself.</param>
            public static Modules.ReLU ReLU(bool inplace = false) => new(inplace);
        }
    }
}
