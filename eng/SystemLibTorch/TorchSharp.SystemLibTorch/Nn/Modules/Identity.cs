using static TorchSharp.torch;

namespace TorchSharp.Modules
{
    /// <summary>y = x.</summary>
    public sealed class Identity : ParameterLessModule<Tensor, Tensor>
    {
        internal Identity()
            : base(nameof(Identity))
        {
        }

        /// <summary>A new object over the input's storage.</summary>
        /// <param name="tensor">x.</param>
        public override Tensor forward(Tensor tensor) => tensor.alias();
    }
}

namespace TorchSharp
{
    public static partial class torch
    {
        public static partial class nn
        {
            /// <summary>A module that returns its input.</summary>
            public static Modules.Identity Identity() => new();
        }
    }
}
