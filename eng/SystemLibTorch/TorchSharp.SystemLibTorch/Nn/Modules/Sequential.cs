using static TorchSharp.torch;

namespace TorchSharp.Modules
{
    /// <summary>A chain of modules, each fed with the result of the one before. It owns them.</summary>
    public class Sequential : nn.Module<Tensor, Tensor>
    {
        private readonly List<nn.IModule<Tensor, Tensor>> links = [];

        /// <param name="modules">The modules with their names, in order.</param>
        protected internal Sequential(params (string name, nn.Module<Tensor, Tensor> submodule)[] modules)
            : base(nameof(Sequential))
        {
            foreach (var (name, module) in modules) append(name, module);
        }

        /// <param name="modules">The modules in order; their names are "0", "1", ...</param>
        protected internal Sequential(params nn.Module<Tensor, Tensor>[] modules)
            : base(nameof(Sequential))
        {
            foreach (var module in modules) append(module);
        }

        /// <summary>Number of modules.</summary>
        public int Count => links.Count;

        /// <summary>The module at a position.</summary>
        /// <param name="index">Position from 0.</param>
        [System.Runtime.CompilerServices.IndexerName("SequentialItems")]
        public nn.IModule<Tensor, Tensor> this[int index] => links[index];

        /// <summary>Adds a module at the end.</summary>
        /// <param name="name">Its name.</param>
        /// <param name="module">The module.</param>
        /// <returns>This object.</returns>
        public Sequential append(string name, nn.IModule<Tensor, Tensor> module)
        {
            register_module(name, (nn.Module)module);
            links.Add(module);
            return this;
        }

        /// <summary>Adds a module at the end, with its position for a name.</summary>
        /// <param name="module">The module.</param>
        /// <returns>This object.</returns>
        public Sequential append(nn.IModule<Tensor, Tensor> module) => append(links.Count.ToString(), module);

        /// <summary>Runs the chain. Results between two modules are disposed.</summary>
        /// <param name="tensor">Input of the first module.</param>
        /// <returns>Result of the last module.</returns>
        public override Tensor forward(Tensor tensor)
        {
            if (links.Count == 0) return tensor.alias();
            var current = links[0].call(tensor);
            foreach (var link in links.Skip(1))
            {
                using var input = current;
                current = link.call(input);
            }

            return current;
        }
    }
}

namespace TorchSharp
{
    public static partial class torch
    {
        public static partial class nn
        {
            /// <summary>An empty chain.</summary>
            public static Modules.Sequential Sequential() => new(Array.Empty<Module<Tensor, Tensor>>());

            /// <summary>A chain of named modules.</summary>
            /// <param name="modules">The modules with their names, in order.</param>
            public static Modules.Sequential Sequential(params (string name, Module<Tensor, Tensor> submodule)[] modules) => new(modules);

            /// <summary>A chain of modules named by their positions.</summary>
            /// <param name="modules">The modules in order.</param>
            public static Modules.Sequential Sequential(params Module<Tensor, Tensor>[] modules) => new(modules);

            /// <summary>A chain of named modules.</summary>
            /// <param name="modules">The modules with their names, in order.</param>
            public static Modules.Sequential Sequential(IEnumerable<(string name, Module<Tensor, Tensor> submodule)> modules) => new([.. modules]);

            /// <summary>A chain of modules named by their positions.</summary>
            /// <param name="modules">The modules in order.</param>
            public static Modules.Sequential Sequential(IEnumerable<Module<Tensor, Tensor>> modules) => new([.. modules]);
        }
    }
}
