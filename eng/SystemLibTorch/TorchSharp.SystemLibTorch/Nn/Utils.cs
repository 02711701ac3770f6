using TorchSharp.Modules;

namespace TorchSharp;

public static partial class torch
{
    public static partial class nn
    {
        /// <summary>Helpers around parameters and gradients.</summary>
        public static partial class utils
        {
            /// <summary>Scales gradients down so that the norm of all of them, taken as one vector, is at most a maximum.</summary>
            /// <param name="tensors">The parameters; those without a gradient do not count.</param>
            /// <param name="max_norm">The maximum.</param>
            /// <param name="norm_type">The p of the norm; may be infinite.</param>
            /// <returns>The norm before scaling.</returns>
            public static double clip_grad_norm_(IEnumerable<Parameter> tensors, double max_norm, double norm_type = 2.0)
            {
                ArgumentNullException.ThrowIfNull(tensors);
                using var inference = no_grad();
                using var scope = NewDisposeScope();
                var gradients = tensors.Select(parameter => parameter.grad).OfType<Tensor>().ToList();
                if (gradients.Count == 0) return 0;

                // ‖g‖ = ‖(‖g₁‖, ‖g₂‖, ...)‖ for every p.
                var norms = gradients.ConvertAll(gradient => Norm(gradient, norm_type));
                var total = Norm(Operator.Call("stack", "", norms), norm_type).ToDouble();
                var factor = max_norm / (total + 1e-6);
                if (!(factor >= 1)) // a NaN norm spoils every gradient, as in libtorch
                {
                    foreach (var gradient in gradients) gradient.mul_(factor);
                }

                return total;
            }

            /// <summary>Limits every element of the gradients to ±<paramref name="clip_value"/>.</summary>
            /// <param name="tensors">The parameters; those without a gradient do not count.</param>
            /// <param name="clip_value">The limit.</param>
            public static void clip_grad_value_(IEnumerable<Parameter> tensors, double clip_value)
            {
                ArgumentNullException.ThrowIfNull(tensors);
                using var inference = no_grad();
                foreach (var parameter in tensors)
                {
                    using var gradient = parameter.grad;
                    if (gradient is not null) Operator.CallVoid("clamp_", "", gradient, -clip_value, clip_value);
                }
            }

            /// <summary>All elements of the parameters in one vector.</summary>
            /// <param name="tensors">The parameters.</param>
            public static Tensor parameters_to_vector(IEnumerable<Parameter> tensors)
            {
                ArgumentNullException.ThrowIfNull(tensors);
                using var scope = NewDisposeScope();
                var flat = tensors.Select(parameter => parameter.reshape(-1)).ToList();
                return Operator.Call("cat", "", flat).MoveToOuterDisposeScope();
            }

            private static Tensor Norm(Tensor tensor, double p) => Operator.Call("linalg_vector_norm", "", tensor, p);
        }
    }
}
