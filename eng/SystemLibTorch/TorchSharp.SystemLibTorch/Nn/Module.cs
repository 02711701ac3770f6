using TorchSharp.Modules;

namespace TorchSharp;

public static partial class torch
{
    public static partial class nn
    {
        /// <summary>
        /// Base class of all neural network modules: a tree of named submodules, parameters and buffers.
        /// </summary>
        /// <remarks>
        /// A derived class keeps its components in fields and calls <see cref="RegisterComponents"/> at the end of its
        /// constructor, which registers every module, parameter and tensor field under the name of the field.
        /// </remarks>
        public partial class Module : IDisposable
        {
            /// <summary>The name given to the constructor.</summary>
            protected string? name;

            /// <summary>The libtorch module that this one wraps, if any.</summary>
            private protected NativeModule? native;

            private bool isTraining = true;

            /// <param name="name">Name of the module's kind, as <see cref="GetName"/> returns it.</param>
            protected Module(string name)
            {
                this.name = name;
            }

            /// <summary>The name of the module's kind, usually its class name.</summary>
            public virtual string GetName() => string.IsNullOrEmpty(name) ? GetType().Name : name;

            /// <summary>True in training mode, which is how a module starts; false after <see cref="eval"/>.</summary>
            public virtual bool training => isTraining;

            /// <summary>Sets training mode here and in all submodules; it matters to dropout and its like.</summary>
            /// <param name="train">True for training, false for evaluation.</param>
            public virtual void train(bool train = true)
            {
                isTraining = train;
                native?.Train(train);
                foreach (var (_, child) in named_children()) child.train(train);
            }

            /// <summary>Sets evaluation mode here and in all submodules.</summary>
            public virtual void eval() => train(false);

            /// <summary>Applies a function to every submodule, deepest first, and to this module last.</summary>
            /// <param name="fn">The function.</param>
            /// <returns>This module.</returns>
            public virtual Module apply(Action<Module> fn)
            {
                ArgumentNullException.ThrowIfNull(fn);
                foreach (var (_, child) in named_children()) child.apply(fn);
                fn(this);
                return this;
            }

            /// <summary>Clears the gradients of all parameters, submodules' included.</summary>
            /// <param name="set_to_none">Drops the gradient tensors (default) rather than filling them with zeros.</param>
            public virtual void zero_grad(bool set_to_none = true)
            {
                foreach (var (_, parameter) in named_parameters()) ClearGradient(parameter, set_to_none);
            }

            internal static void ClearGradient(Parameter parameter, bool setToNone)
            {
                using var gradient = parameter.grad;
                if (gradient is null) return;
                if (setToNone) parameter.grad = null;
                else gradient.zero_();
            }

            /// <summary>Disposes the module's parameters and buffers, and its submodules.</summary>
            public void Dispose()
            {
                Dispose(true);
                GC.SuppressFinalize(this);
            }

            /// <summary>The .NET dispose pattern.</summary>
            /// <param name="disposing">True when called from <see cref="Dispose()"/>.</param>
            protected virtual void Dispose(bool disposing)
            {
                if (!disposing) return;
                foreach (var (_, (buffer, _)) in registeredBuffers) buffer.Dispose();
                foreach (var (_, parameter) in registeredParameters) parameter.Dispose();
                foreach (var (_, child) in named_children()) child.Dispose();
                native?.Dispose();
            }

            /// <summary>Makes this module the managed side of a libtorch module.</summary>
            private protected void Wrap(NativeModule module)
            {
                native = module;
                foreach (var (key, parameter) in module.Parameters()) register_parameter(key, parameter);
            }
        }
    }
}
