using System.Reflection;
using TorchSharp.Modules;

namespace TorchSharp;

public static partial class torch
{
    public static partial class nn
    {
        // Registration of the components a module consists of.
        public partial class Module
        {
            private readonly OrderedDictionary<string, Module> registeredModules = [];
            private readonly OrderedDictionary<string, Parameter> registeredParameters = [];
            private readonly OrderedDictionary<string, (Tensor Tensor, bool Persistent)> registeredBuffers = [];
            private bool componentsRegistered;

            /// <summary>
            /// Registers the modules, parameters and tensors that the fields of this object hold, private and inherited
            /// ones included, under the field's name or the one its
            /// <see cref="TorchSharp.Utils.ComponentNameAttribute"/> gives. Fields that hold null, and names already
            /// taken, are passed over; only the first call does anything.
            /// </summary>
            protected virtual void RegisterComponents()
            {
                if (componentsRegistered) return;
                componentsRegistered = true;
                foreach (var field in FieldsOf(GetType()))
                {
                    var component = field.ComponentName();
                    if (IsRegistered(component)) continue;
                    switch (field.GetValue(this))
                    {
                        case Module module: register_module(component, module); break;
                        case Parameter parameter: register_parameter(component, parameter); break;
                        case Tensor buffer: register_buffer(component, buffer); break;
                    }
                }
            }

            /// <summary>Registers a submodule, after it has registered its own components.</summary>
            /// <param name="name">Its name: not empty, without a dot, not taken by another submodule.</param>
            /// <param name="submodule">The module; null takes the one of that name off the register.</param>
            /// <exception cref="ArgumentException">The name is empty or contains a dot, or the submodule contains this module.</exception>
            /// <exception cref="InvalidOperationException">The name is taken.</exception>
            public virtual void register_module(string name, Module submodule)
            {
                if (submodule is null)
                {
                    registeredModules.Remove(name);
                    return;
                }

                ArgumentException.ThrowIfNullOrEmpty(name);
                if (name.Contains('.')) throw new ArgumentException($"A module's name cannot contain a dot, got '{name}'.", nameof(name));
                if (registeredModules.ContainsKey(name)) throw new InvalidOperationException($"A submodule '{name}' is already registered.");
                if (!ReferenceEquals(submodule, this)) submodule.RegisterComponents();
                // In a circle every walk over the modules would overflow the stack.
                if (ReferenceEquals(submodule, this) || submodule.modules().Contains(this))
                    throw new ArgumentException("A module cannot contain itself.", nameof(submodule));
                registeredModules.Add(name, submodule);
            }

            /// <summary>The same as <see cref="register_module"/>.</summary>
            /// <param name="name">Name of the submodule.</param>
            /// <param name="module">The submodule.</param>
            public void add_module(string name, Module module) => register_module(name, module);

            /// <summary>Registers a parameter.</summary>
            /// <param name="name">Its name, not taken by another parameter of this module.</param>
            /// <param name="param">The parameter.</param>
            /// <exception cref="ArgumentNullException">The parameter is null or disposed.</exception>
            /// <exception cref="InvalidOperationException">The name is taken.</exception>
            public virtual void register_parameter(string name, Parameter param)
            {
                if (param is null || param.IsInvalid) throw new ArgumentNullException(nameof(param), "A null tensor cannot be registered as a parameter.");
                if (!registeredParameters.TryAdd(name, param)) throw new InvalidOperationException($"A parameter '{name}' is already registered.");
            }

            /// <summary>Registers a buffer: a tensor that belongs to the module's state but is not trained.</summary>
            /// <param name="name">Its name, not taken by another buffer of this module.</param>
            /// <param name="tensor">The tensor.</param>
            /// <param name="persistent">Whether the buffer is part of the state dictionary.</param>
            /// <exception cref="ArgumentNullException">The tensor is null or disposed.</exception>
            /// <exception cref="InvalidOperationException">The name is taken.</exception>
            public virtual void register_buffer(string name, Tensor tensor, bool persistent = true)
            {
                if (tensor is null || tensor.IsInvalid) throw new ArgumentNullException(nameof(tensor), "A null tensor cannot be registered as a buffer.");
                if (!registeredBuffers.TryAdd(name, (tensor, persistent))) throw new InvalidOperationException($"A buffer '{name}' is already registered.");
            }

            /// <summary>Registers a parameter, puts it in the place of a registered one, or, if null, takes it off the register.</summary>
            /// <param name="name">Name of the parameter.</param>
            /// <param name="value">The parameter.</param>
            protected void ConditionallyRegisterParameter(string name, Parameter? value)
            {
                if (value is null) registeredParameters.Remove(name);
                else registeredParameters[name] = value;
            }

            /// <summary>Registers a buffer, puts it in the place of a registered one, or, if null, takes it off the register.</summary>
            /// <param name="name">Name of the buffer.</param>
            /// <param name="value">The buffer.</param>
            /// <param name="persistent">Whether the buffer is part of the state dictionary.</param>
            protected void ConditionallyRegisterBuffer(string name, Tensor? value, bool persistent = true)
            {
                if (value is null) registeredBuffers.Remove(name);
                else registeredBuffers[name] = (value, persistent);
            }

            /// <summary>The setter of a parameter property: takes the value over and disposes the one it replaces.</summary>
            private protected void ReplaceField(ref Parameter? field, string component, Parameter? value)
            {
                if (ReferenceEquals(field, value)) return;
                field?.Dispose();
                value?.DetachFromDisposeScope();
                field = value;
                ConditionallyRegisterParameter(component, value);
            }

            private bool IsRegistered(string component) =>
                registeredModules.ContainsKey(component) || registeredParameters.ContainsKey(component) || registeredBuffers.ContainsKey(component);

            /// <summary>All instance fields, the derived class's first; a base class's private field hidden by name is left out.</summary>
            private static IEnumerable<FieldInfo> FieldsOf(Type type)
            {
                var seen = new HashSet<string>();
                for (Type? current = type; current is not null && current != typeof(Module); current = current.BaseType)
                {
                    foreach (var field in current.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic))
                    {
                        if (seen.Add(field.Name)) yield return field;
                    }
                }
            }
        }
    }
}
