namespace TorchSharp;

public static partial class torch
{
    /// <summary>Gradients, and functions with gradients of their own.</summary>
    public static unsafe partial class autograd
    {
        /// <summary>The gradients of <paramref name="outputs"/> with respect to <paramref name="inputs"/>.</summary>
        /// <param name="outputs">What is differentiated.</param>
        /// <param name="inputs">With respect to what.</param>
        /// <param name="grad_outputs">The gradient of each output; may be left out for scalars.</param>
        /// <param name="retain_graph">Keep what the graph has saved for another run.</param>
        /// <param name="create_graph">Record the gradients themselves.</param>
        /// <param name="allow_unused">Allow inputs on which no output depends: their gradients are invalid tensors.</param>
        /// <remarks>
        /// What libtorch refuses ends the process, as in TorchSharp, whose native code catches nothing here: an unused input,
        /// a wrong number or shape of gradients, one of a managed function included. <see cref="backward(Tensor, IList{Tensor}, bool?, bool, IList{Tensor})"/> throws.
        /// </remarks>
        public static IList<Tensor> grad(
            IList<Tensor> outputs, IList<Tensor> inputs, IList<Tensor>? grad_outputs = null, bool retain_graph = false,
            bool create_graph = false, bool allow_unused = false)
        {
            (IntPtr[] ofOutputs, IntPtr[] ofInputs, IntPtr[] ofGradients) = (Handles(outputs), Handles(inputs), Handles(grad_outputs));
            IntPtr[] results = Bridge.Uncaught(() =>
            {
                var results = new IntPtr[ofInputs.Length];
                fixed (IntPtr* output = ofOutputs, input = ofInputs, gradient = ofGradients, result = results)
                {
                    Bridge.Gradients(
                        output, ofOutputs.Length, input, ofInputs.Length, gradient, ofGradients.Length, retain_graph ? 1 : 0,
                        create_graph ? 1 : 0, allow_unused ? 1 : 0, result);
                }
                return results;
            });
            GC.KeepAlive(outputs);
            GC.KeepAlive(inputs);
            GC.KeepAlive(grad_outputs);
            return results.Select(handle => new Tensor(handle)).ToList();
        }

        /// <summary>Adds the gradients of <paramref name="tensors"/> to the leaves' <see cref="Tensor.grad"/>.</summary>
        /// <param name="tensors">What is differentiated.</param>
        /// <param name="grad_tensors">The gradient of each tensor; may be left out for scalars.</param>
        /// <param name="retain_graph">Keep what the graph has saved; by default if <paramref name="create_graph"/>.</param>
        /// <param name="create_graph">Record the gradients themselves.</param>
        /// <param name="inputs">The leaves to reach; all for null.</param>
        public static void backward(
            IList<Tensor> tensors, IList<Tensor>? grad_tensors = null, bool? retain_graph = null, bool create_graph = false,
            IList<Tensor>? inputs = null)
        {
            fixed (IntPtr* tensor = Handles(tensors), gradient = Handles(grad_tensors), input = Handles(inputs))
            {
                Bridge.Backward(
                    tensor, tensors.Count, gradient, grad_tensors?.Count ?? 0, retain_graph ?? create_graph ? 1 : 0,
                    create_graph ? 1 : 0, input, inputs?.Count ?? 0);
            }
            GC.KeepAlive(tensors);
            GC.KeepAlive(grad_tensors);
            GC.KeepAlive(inputs);
        }

        /// <inheritdoc cref="backward(IList{Tensor}, IList{Tensor}, bool?, bool, IList{Tensor})"/>
        public static void backward(
            Tensor tensor, IList<Tensor>? grad_tensors = null, bool? retain_graph = null, bool create_graph = false,
            IList<Tensor>? inputs = null) =>
            backward([tensor], grad_tensors, retain_graph, create_graph, inputs);

        /// <inheritdoc cref="backward(IList{Tensor}, IList{Tensor}, bool?, bool, IList{Tensor})"/>
        public static void backward(
            Tensor tensor, Tensor grad_tensor, bool? retain_graph = null, bool create_graph = false, IList<Tensor>? inputs = null) =>
            backward([tensor], [grad_tensor], retain_graph, create_graph, inputs);

        private static IntPtr[] Handles(IList<Tensor>? tensors) => tensors is null ? [] : [.. tensors.Select(tensor => tensor.Handle)];
    }
}
