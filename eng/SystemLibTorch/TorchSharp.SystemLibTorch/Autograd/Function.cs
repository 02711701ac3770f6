using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace TorchSharp;

public static partial class torch
{
    public static unsafe partial class autograd
    {
        /// <summary>A function whose forward and backward are managed code. Derive from one of its two subclasses.</summary>
        public abstract class Function<T>
            where T : Function<T>, new()
        {
            private static readonly T Instance = new();

            /// <summary>The function's name, for messages.</summary>
            public abstract string Name { get; }

            /// <summary>Runs forward with gradient recording off and puts the function into the graph of its outputs.</summary>
            /// <param name="vars">Forward's arguments. Valid tensors among them take gradients; nothing else does.</param>
            public static List<Tensor> apply_internal(params object[] vars) =>
                new Application(Instance.forward_internal, Instance.backward_internal, Instance.Name, vars).Run();

            internal abstract List<Tensor> forward_internal(AutogradContext ctx, params object[] vars);

            internal abstract List<Tensor> backward_internal(AutogradContext ctx, List<Tensor> grad_outputs);
        }

        /// <summary>A function with one output.</summary>
        public abstract class SingleTensorFunction<T> : Function<T>
            where T : SingleTensorFunction<T>, new()
        {
            /// <summary>Calls the function.</summary>
            public static Tensor apply(params object[] vars) => apply_internal(vars)[0];

            /// <summary>Computes the output.</summary>
            public abstract Tensor forward(AutogradContext ctx, params object[] vars);

            /// <summary>Computes one gradient for each argument of <see cref="forward"/>; null for what is not a tensor.</summary>
            public abstract List<Tensor> backward(AutogradContext ctx, Tensor grad_output);

            internal sealed override List<Tensor> forward_internal(AutogradContext ctx, params object[] vars) => [forward(ctx, vars)];

            internal sealed override List<Tensor> backward_internal(AutogradContext ctx, List<Tensor> grad_outputs) =>
                backward(ctx, grad_outputs[0]);
        }

        /// <summary>A function with several outputs.</summary>
        public abstract class MultiTensorFunction<T> : Function<T>
            where T : MultiTensorFunction<T>, new()
        {
            /// <summary>Calls the function.</summary>
            public static List<Tensor> apply(params object[] vars) => apply_internal(vars);

            /// <summary>Computes the outputs.</summary>
            public abstract List<Tensor> forward(AutogradContext ctx, params object[] vars);

            /// <summary>Computes one gradient for each argument of <see cref="forward"/>; null for what is not a tensor.</summary>
            public abstract List<Tensor> backward(AutogradContext ctx, List<Tensor> grad_outputs);

            internal sealed override List<Tensor> forward_internal(AutogradContext ctx, params object[] vars) => forward(ctx, vars);

            internal sealed override List<Tensor> backward_internal(AutogradContext ctx, List<Tensor> grad_outputs) =>
                backward(ctx, grad_outputs);
        }

        /// <summary>
        /// One application of a function. The native node holds it by a <see cref="GCHandle"/> from apply until the node dies.
        /// </summary>
        private sealed class Application
        {
            private const int MaximumOutputs = 64;

            private readonly Func<AutogradContext, object[], List<Tensor>> _forward;
            private readonly Func<AutogradContext, List<Tensor>, List<Tensor>> _backward;
            private readonly string _name;
            private readonly bool[] _isTensor;
            private readonly AutogradContext _context = new();
            private object[] _arguments;
            private List<Tensor>? _outputLikes;
            private ExceptionDispatchInfo? _failure;

            static Application()
            {
                var callbacks = new Bridge.Callbacks { Forward = &OnForward, Backward = &OnBackward, Release = &OnRelease };
                Bridge.SetCallbacks(&callbacks);
            }

            internal Application(
                Func<AutogradContext, object[], List<Tensor>> forward, Func<AutogradContext, List<Tensor>, List<Tensor>> backward,
                string name, object[] arguments)
            {
                _forward = forward;
                _backward = backward;
                _name = name;
                _arguments = arguments;
                _isTensor = Array.ConvertAll(arguments, argument => argument is Tensor { IsInvalid: false });
            }

            internal List<Tensor> Run()
            {
                object[] arguments = _arguments;
                bool executable = is_grad_enabled() && arguments.OfType<Tensor>().Any(tensor => !tensor.IsInvalid && tensor.requires_grad);
                IntPtr[] inputs = arguments.OfType<Tensor>().Where(tensor => !tensor.IsInvalid).Select(tensor => tensor.Handle).ToArray();
                IntPtr* outputs = stackalloc IntPtr[MaximumOutputs];
                long count;
                try
                {
                    fixed (IntPtr* input = inputs)
                    {
                        IntPtr self = GCHandle.ToIntPtr(GCHandle.Alloc(this));
                        Bridge.Apply(self, input, inputs.Length, outputs, MaximumOutputs, out count);
                    }
                }
                catch (ExternalException) when (_failure is not null)
                {
                    _failure.Throw(); // forward's exception has passed through libtorch: the caller gets the exception itself
                    throw;
                }
                GC.KeepAlive(arguments);
                _arguments = []; // the node keeps what was saved, not all arguments
                var results = new List<Tensor>((int)count);
                for (int i = 0; i < count; i++)
                {
                    results.Add(new Tensor(outputs[i]));
                }
                // What zeros are made like in backward. TorchSharp keeps a tensor of each output's size for the node's life.
                _outputLikes = executable ? results.ConvertAll(result => empty_like(result)) : null;
                return results;
            }

            [UnmanagedCallersOnly]
            private static void OnForward(IntPtr state, IntPtr context, IntPtr outcome)
            {
                Application self = At(state);
                try
                {
                    self._context.Enter(context);
                    List<Tensor> outputs = self._forward(self._context, self._arguments);
                    foreach (Tensor output in outputs)
                    {
                        Bridge.Emit(outcome, output.Handle);
                        GC.KeepAlive(output);
                    }
                }
                catch (Exception exception)
                {
                    self._failure = ExceptionDispatchInfo.Capture(exception);
                    Bridge.Fail(outcome, exception.Message);
                }
                finally
                {
                    self._context.Leave();
                }
            }

            // An exception that leaves it ends the process, as in TorchSharp: what backward throws can reach nobody.
            [UnmanagedCallersOnly]
            private static void OnBackward(IntPtr state, IntPtr context, IntPtr* gradients, long count, IntPtr outcome)
            {
                Application self = At(state);
                self._context.Enter(context);
                var incoming = new List<Tensor>((int)count);
                for (int i = 0; i < count; i++)
                {
                    bool zeros = gradients[i] == IntPtr.Zero && self._context.MaterializeGrads;
                    incoming.Add(zeros ? zeros_like(self._outputLikes![i]) : new Tensor(gradients[i]));
                }
                foreach (Tensor? gradient in self.Gradients(self._backward(self._context, incoming)))
                {
                    Bridge.Emit(outcome, gradient is null || gradient.IsInvalid ? IntPtr.Zero : gradient.Handle);
                    GC.KeepAlive(gradient);
                }
                self._context.Leave();
            }

            [UnmanagedCallersOnly]
            private static void OnRelease(IntPtr state)
            {
                At(state)._outputLikes?.ForEach(tensor => tensor.Dispose());
                GCHandle.FromIntPtr(state).Free();
            }

            private static Application At(IntPtr state) => (Application)GCHandle.FromIntPtr(state).Target!;

            // One gradient for each tensor argument. Further ones, and those of other arguments, must be undefined.
            private List<Tensor?> Gradients(List<Tensor> all)
            {
                static bool Defined(Tensor? tensor) => tensor is not null && !tensor.IsInvalid;

                if (all.Count < _isTensor.Length || all.Skip(_isTensor.Length).Any(Defined))
                {
                    throw new NotImplementedException(
                        $"Function {_name} returned an incorrect number of gradients (expected {_isTensor.Length}), got {all.Count}");
                }
                var gradients = new List<Tensor?>();
                for (int i = 0; i < _isTensor.Length; i++)
                {
                    if (_isTensor[i])
                    {
                        gradients.Add(all[i]);
                    }
                    else if (Defined(all[i]))
                    {
                        throw new NotImplementedException(
                            $"Function {_name} returned a gradient at position {i + 1}, but the corresponding forward input was not a Tensor");
                    }
                }
                return gradients;
            }
        }
    }
}
