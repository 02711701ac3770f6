using TorchSharp.Modules;

namespace TorchSharp;

public static partial class torch
{
    /// <summary>Optimisers: they change parameters by their gradients.</summary>
    public static partial class optim
    {
        /// <summary>Base class of all optimisers.</summary>
        public abstract partial class Optimizer : IDisposable
        {
            /// <summary>The groups of parameters.</summary>
            protected IList<ParamGroup> _parameter_groups = [];

            private protected Optimizer()
            {
            }

            /// <summary>The groups of parameters, each with a learning rate that may be set at any time.</summary>
            public virtual IEnumerable<ILearningRateController> ParamGroups => _parameter_groups;

            /// <summary>All parameters, group after group.</summary>
            public virtual IEnumerable<Parameter> parameters() => _parameter_groups.SelectMany(group => group.Parameters);

            /// <summary>Adds a group of parameters.</summary>
            /// <param name="param_group">The group; what its options leave open takes the optimiser's defaults.</param>
            public virtual void add_param_group(ParamGroup param_group) => _parameter_groups.Add(param_group);

            /// <summary>Fills the gradients of all parameters with zeros.</summary>
            public virtual void zero_grad()
            {
                foreach (var parameter in parameters()) nn.Module.ClearGradient(parameter, setToNone: false);
            }

            /// <summary>Changes the parameters by their gradients. Parameters without one stay as they are.</summary>
            /// <param name="closure">Computes the loss and its gradients anew, before the step; may be null.</param>
            /// <returns>What the closure returned, or null.</returns>
            public virtual Tensor? step(Func<Tensor>? closure = null) => throw new NotSupportedException("an optimiser overrides step");

            /// <summary>Disposes the optimiser's state, not the parameters.</summary>
            public void Dispose()
            {
                Dispose(true);
                GC.SuppressFinalize(this);
            }

            /// <summary>The .NET dispose pattern.</summary>
            /// <param name="disposing">True when called from <see cref="Dispose()"/>.</param>
            protected virtual void Dispose(bool disposing)
            {
                if (disposing) DisposeState();
            }

            private protected abstract void DisposeState();

            /// <summary>
            /// The options of the groups and the states of the parameters, in the order of the groups. They are the
            /// optimiser's own objects, not copies.
            /// </summary>
            public class StateDictionary
            {
                internal StateDictionary()
                {
                }

                /// <summary>Options, one a group.</summary>
                public List<OptimizerOptions> Options { get; } = [];

                /// <summary>States, one a parameter.</summary>
                public List<OptimizerState> State { get; } = [];

                /// <summary>For each group, the positions of its parameters in <see cref="State"/>.</summary>
                public List<List<int>> StateIndexRef { get; } = [];
            }
        }

        /// <summary>What a learning-rate schedule controls.</summary>
        public interface ILearningRateController
        {
            /// <summary>The learning rate now.</summary>
            double LearningRate { get; set; }

            /// <summary>The learning rate at the start.</summary>
            double InitialLearningRate { get; set; }
        }

        /// <summary>Something with a momentum.</summary>
        public interface IMomentum
        {
            /// <summary>The momentum.</summary>
            double Momentum { get; set; }
        }

        /// <summary>Something with the two decay rates of Adam's running averages.</summary>
        public interface IBetas
        {
            /// <summary>Decay rates of the averages of the gradient and of its square.</summary>
            (double, double) Betas { get; set; }
        }
    }
}
