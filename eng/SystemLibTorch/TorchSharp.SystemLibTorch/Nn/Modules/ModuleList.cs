using System.Collections;
using static TorchSharp.torch;

namespace TorchSharp.Modules
{
    /// <summary>
    /// A list of modules, which are registered under their indices "0", "1", ... when the list itself is registered as a
    /// component of its owner. What is added later is not registered.
    /// </summary>
    /// <typeparam name="T">Class of the modules.</typeparam>
    public class ModuleList<T> : nn.Module, IList<T>
        where T : nn.Module
    {
        private readonly List<T> items;
        private bool registered;

        /// <param name="modules">The modules to start with.</param>
        public ModuleList(params T[] modules)
            : base("ModuleList")
        {
            items = [.. modules];
        }

        /// <inheritdoc/>
        protected override void RegisterComponents()
        {
            if (registered) return;
            registered = true;
            for (var i = 0; i < items.Count; i++) register_module(i.ToString(), items[i]);
        }

        /// <inheritdoc/>
        public T this[int index]
        {
            get => items[index];
            set => items[index] = value;
        }

        /// <inheritdoc/>
        public int Count => items.Count;

        /// <inheritdoc/>
        public bool IsReadOnly => false;

        /// <inheritdoc/>
        public void Add(T item) => items.Add(item);

        /// <summary>Adds modules at the end.</summary>
        /// <param name="parameters">The modules.</param>
        public void append(params T[] parameters) => items.AddRange(parameters);

        /// <summary>Adds modules at the end.</summary>
        /// <param name="modules">The modules.</param>
        public void extend(IEnumerable<T> modules) => items.AddRange(modules);

        /// <inheritdoc/>
        public void Clear() => items.Clear();

        /// <inheritdoc/>
        public bool Contains(T item) => items.Contains(item);

        /// <inheritdoc/>
        public void CopyTo(T[] array, int arrayIndex) => items.CopyTo(array, arrayIndex);

        /// <inheritdoc/>
        public IEnumerator<T> GetEnumerator() => items.GetEnumerator();

        /// <inheritdoc/>
        public int IndexOf(T item) => items.IndexOf(item);

        /// <inheritdoc/>
        public void Insert(int index, T item) => items.Insert(index, item);

        /// <inheritdoc/>
        public bool Remove(T item) => items.Remove(item);

        /// <inheritdoc/>
        public void RemoveAt(int index) => items.RemoveAt(index);

        IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
    }
}

namespace TorchSharp
{
    public static partial class torch
    {
        public static partial class nn
        {
            /// <summary>A list of modules.</summary>
            /// <param name="modules">The modules to start with.</param>
            public static Modules.ModuleList<Module> ModuleList(params Module[] modules) => new(modules);

            /// <summary>A list of modules of one class.</summary>
            /// <typeparam name="T">Class of the modules.</typeparam>
            /// <param name="modules">The modules to start with.</param>
            public static Modules.ModuleList<T> ModuleList<T>(params T[] modules)
                where T : Module => new(modules);
        }
    }
}
