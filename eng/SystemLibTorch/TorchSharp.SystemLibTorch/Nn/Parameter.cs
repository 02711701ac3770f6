using static TorchSharp.torch;

namespace TorchSharp.Modules
{
    /// <summary>A tensor that a module registers as one of its trainable parameters.</summary>
    public class Parameter : Tensor
    {
        /// <summary>Makes a parameter of a tensor.</summary>
        /// <param name="data">The tensor. Its handle moves into the parameter: it is empty afterwards.</param>
        /// <param name="requires_grad">Whether to compute its gradient.</param>
        public Parameter(Tensor data, bool requires_grad = true)
            : base(data.with_requires_grad(requires_grad).DecoupleFromNativeHandle(), false)
        {
            data.OwningDisposeScope?.Attach(this);
            data.DetachFromDisposeScope();
        }

        /// <summary>A parameter over a native handle, which it owns, in no dispose scope.</summary>
        internal Parameter(IntPtr handle)
            : base(handle, false)
        {
        }
    }
}

namespace TorchSharp
{
    public static partial class torch
    {
        public static partial class nn
        {
            /// <summary>Makes a parameter of a tensor, which is empty afterwards.</summary>
            /// <param name="data">The tensor.</param>
            /// <param name="requires_grad">Whether to compute its gradient.</param>
            public static Modules.Parameter Parameter(Tensor data, bool requires_grad = true) => new(data, requires_grad);
        }
    }
}
