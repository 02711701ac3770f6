using TorchSharp.Modules;

namespace TorchSharp;

public static partial class torch
{
    public static partial class nn
    {
        // The module tree seen from outside: names are the path of field names, joined by dots.
        public partial class Module
        {
            /// <summary>The direct submodules with their names, in the order of registration.</summary>
            public virtual IEnumerable<(string name, Module module)> named_children() =>
                registeredModules.Select(entry => (entry.Key, entry.Value));

            /// <summary>The direct submodules, in the order of registration.</summary>
            public virtual IEnumerable<Module> children() => named_children().Select(child => child.module);

            /// <summary>All submodules with their paths: the direct ones first, then those below each. This module is not among them.</summary>
            public virtual IEnumerable<(string name, Module module)> named_modules()
            {
                foreach (var child in named_children()) yield return child;
                foreach (var (childName, child) in named_children())
                {
                    foreach (var (path, module) in child.named_modules()) yield return ($"{childName}.{path}", module);
                }
            }

            /// <summary>All submodules, the direct ones first.</summary>
            public virtual IEnumerable<Module> modules() => named_modules().Select(entry => entry.module);

            /// <summary>The parameters with their paths; a parameter registered twice is listed once, under its first path.</summary>
            /// <param name="recurse">Whether to list the submodules' parameters too.</param>
            public virtual IEnumerable<(string name, Parameter parameter)> named_parameters(bool recurse = true)
            {
                var seen = new HashSet<Parameter>(ReferenceEqualityComparer.Instance);
                foreach (var (key, parameter) in registeredParameters)
                {
                    if (!parameter.IsInvalid && seen.Add(parameter)) yield return (key, parameter);
                }

                if (!recurse) yield break;
                foreach (var (childName, child) in named_children())
                {
                    foreach (var (path, parameter) in child.named_parameters())
                    {
                        if (seen.Add(parameter)) yield return ($"{childName}.{path}", parameter);
                    }
                }
            }

            /// <summary>The parameters, each once.</summary>
            /// <param name="recurse">Whether to list the submodules' parameters too.</param>
            public virtual IEnumerable<Parameter> parameters(bool recurse = true) => named_parameters(recurse).Select(entry => entry.parameter);

            /// <summary>The persistent buffers with their paths, each once.</summary>
            /// <param name="recurse">Whether to list the submodules' buffers too.</param>
            /// <param name="include_nonpersistent">Without effect: TorchSharp lists persistent buffers only, whatever is asked for.</param>
            public virtual IEnumerable<(string name, Tensor buffer)> named_buffers(bool recurse = true, bool include_nonpersistent = true)
            {
                var seen = new HashSet<Tensor>(ReferenceEqualityComparer.Instance);
                foreach (var (key, (buffer, persistent)) in registeredBuffers)
                {
                    if (persistent && !buffer.IsInvalid && seen.Add(buffer)) yield return (key, buffer);
                }

                if (!recurse) yield break;
                foreach (var (childName, child) in named_children())
                {
                    foreach (var (path, buffer) in child.named_buffers(true, include_nonpersistent))
                    {
                        if (seen.Add(buffer)) yield return ($"{childName}.{path}", buffer);
                    }
                }
            }

            /// <summary>The persistent buffers, each once.</summary>
            /// <param name="recurse">Whether to list the submodules' buffers too.</param>
            /// <param name="include_nonpersistent">Without effect, see <see cref="named_buffers"/>.</param>
            public virtual IEnumerable<Tensor> buffers(bool recurse = true, bool include_nonpersistent = true) =>
                named_buffers(recurse, include_nonpersistent).Select(entry => entry.buffer);

            /// <summary>The parameter at a path, or null.</summary>
            /// <param name="target">Path of names joined by dots.</param>
            public virtual Parameter? get_parameter(string target)
            {
                ArgumentNullException.ThrowIfNull(target);
                return registeredParameters.TryGetValue(target, out var own)
                    ? own
                    : BelowChild(target, static (child, rest) => child.get_parameter(rest));
            }

            /// <summary>The buffer at a path, or null.</summary>
            /// <param name="target">Path of names joined by dots.</param>
            public virtual Tensor? get_buffer(string target)
            {
                ArgumentNullException.ThrowIfNull(target);
                return registeredBuffers.TryGetValue(target, out var own)
                    ? own.Tensor
                    : BelowChild(target, static (child, rest) => child.get_buffer(rest));
            }

            /// <summary>Whether there is a parameter at a path.</summary>
            /// <param name="target">Path of names joined by dots.</param>
            public virtual bool has_parameter(string target) => get_parameter(target) is not null;

            /// <summary>Whether there is a buffer at a path.</summary>
            /// <param name="target">Path of names joined by dots.</param>
            public virtual bool has_buffer(string target) => get_buffer(target) is not null;

            /// <summary>Looks up the rest of a path, after its first name, in the child of that name.</summary>
            private T? BelowChild<T>(string path, Func<Module, string, T?> lookUp)
                where T : class
            {
                var dot = path.IndexOf('.');
                if (dot < 0) return null;
                var child = named_children().FirstOrDefault(entry => path.AsSpan(0, dot).SequenceEqual(entry.name)).module;
                return child is null ? null : lookUp(child, path[(dot + 1)..]);
            }
        }
    }
}
