using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.optim;

namespace TorchSharp
{
    public static partial class torch
    {
        public static partial class optim
        {
            /// <summary>Stochastic gradient descent, optionally with momentum.</summary>
            /// <param name="parameters">The parameters.</param>
            /// <param name="learningRate">Learning rate.</param>
            /// <param name="momentum">Share of the last step that goes into the next.</param>
            /// <param name="dampening">Share of the gradient that momentum leaves out.</param>
            /// <param name="weight_decay">L2 penalty.</param>
            /// <param name="nesterov">Whether to look ahead along the momentum.</param>
            /// <param name="maximize">Whether to ascend.</param>
            public static SGD SGD(IEnumerable<Parameter> parameters, double learningRate, double momentum = 0, double dampening = 0, double weight_decay = 0, bool nesterov = false, bool maximize = false) =>
                new(parameters, learningRate, momentum, dampening, weight_decay, nesterov, maximize);

            /// <summary>Stochastic gradient descent, optionally with momentum.</summary>
            /// <param name="parameters">The parameters with their names, which are not used.</param>
            /// <param name="learningRate">Learning rate.</param>
            /// <param name="momentum">Share of the last step that goes into the next.</param>
            /// <param name="dampening">Share of the gradient that momentum leaves out.</param>
            /// <param name="weight_decay">L2 penalty.</param>
            /// <param name="nesterov">Whether to look ahead along the momentum.</param>
            /// <param name="maximize">Whether to ascend.</param>
            public static SGD SGD(IEnumerable<(string name, Parameter parameter)> parameters, double learningRate, double momentum = 0, double dampening = 0, double weight_decay = 0, bool nesterov = false, bool maximize = false) =>
                new(parameters.Select(entry => entry.parameter), learningRate, momentum, dampening, weight_decay, nesterov, maximize);

            /// <summary>Stochastic gradient descent, optionally with momentum.</summary>
            /// <param name="parameters">The groups of parameters; what their options leave open takes the values below.</param>
            /// <param name="learningRate">Learning rate.</param>
            /// <param name="momentum">Share of the last step that goes into the next.</param>
            /// <param name="dampening">Share of the gradient that momentum leaves out.</param>
            /// <param name="weight_decay">L2 penalty.</param>
            /// <param name="nesterov">Whether to look ahead along the momentum.</param>
            /// <param name="maximize">Whether to ascend.</param>
            public static SGD SGD(IEnumerable<SGD.ParamGroup> parameters, double learningRate, double momentum = 0.0, double dampening = 0, double weight_decay = 0, bool nesterov = false, bool maximize = false) =>
                new(parameters, learningRate, momentum, dampening, weight_decay, nesterov, maximize);
        }
    }
}

namespace TorchSharp.Modules
{
    /// <summary>Stochastic gradient descent, optionally with momentum.</summary>
    public class SGD : OptimizerHelper, IMomentum
    {
        private readonly Options defaults;

        /// <inheritdoc cref="optim.SGD(IEnumerable{Parameter}, double, double, double, double, bool, bool)"/>
        public SGD(IEnumerable<Parameter> parameters, double lr, double momentum = 0.0, double dampening = 0, double weight_decay = 0, bool nesterov = false, bool maximize = false)
            : this([new ParamGroup { Parameters = parameters }], lr, momentum, dampening, weight_decay, nesterov, maximize)
        {
        }

        /// <inheritdoc cref="optim.SGD(IEnumerable{SGD.ParamGroup}, double, double, double, double, bool, bool)"/>
        public SGD(IEnumerable<ParamGroup> parameters, double lr, double momentum = 0.0, double dampening = 0, double weight_decay = 0, bool nesterov = false, bool maximize = false)
        {
            if (!(lr >= 0)) throw new ArgumentException($"Invalid learning rate: {lr}", nameof(lr));
            if (!(momentum >= 0)) throw new ArgumentException($"Invalid momentum: {momentum}", nameof(momentum));
            if (!(weight_decay >= 0)) throw new ArgumentException($"Invalid weight_decay: {weight_decay}", nameof(weight_decay));
            if (nesterov && (momentum <= 0 || dampening != 0))
            {
                throw new ArgumentException("Nesterov momentum needs a momentum and no dampening.", nameof(nesterov));
            }

            defaults = new Options
            {
                LearningRate = lr,
                InitialLearningRate = lr,
                momentum = momentum,
                dampening = dampening,
                weight_decay = weight_decay,
                nesterov = nesterov,
                maximize = maximize,
            };
            foreach (var group in parameters) add_param_group(group);
        }

        /// <summary>Default momentum.</summary>
        public double Momentum
        {
            get => defaults.momentum!.Value;
            set => defaults.momentum = value;
        }

        /// <inheritdoc/>
        public override Tensor? step(Func<Tensor>? closure = null) => Step<Options, State>(closure, Update);

        private static void Update(Options options, Parameter parameter, Tensor gradient, State state)
        {
            var (momentum, decay) = (options.momentum!.Value, options.weight_decay!.Value);
            var g = decay == 0 ? gradient : gradient.add(parameter, decay); // g <- g + λ θ
            if (momentum != 0)
            {
                // b <- μ b + (1 - τ) g, starting with b = g; then g <- b, or g + μ b for Nesterov
                var buffer = state.momentum_buffer;
                if (buffer is null) buffer = state.momentum_buffer = g.clone().DetachFromDisposeScope();
                else buffer.mul_(momentum).add_(g, 1 - options.dampening!.Value);
                g = options.nesterov!.Value ? g.add(buffer, momentum) : buffer;
            }

            var lr = options.LearningRate!.Value;
            parameter.add_(g, options.maximize!.Value ? lr : -lr); // θ <- θ - lr g
        }

        private protected override OptimizerOptions WithDefaults(OptimizerOptions? options)
        {
            var result = (Options?)options ?? new Options();
            result.LearningRate ??= defaults.LearningRate;
            result.momentum ??= defaults.momentum;
            result.dampening ??= defaults.dampening;
            result.weight_decay ??= defaults.weight_decay;
            result.nesterov ??= defaults.nesterov;
            result.maximize ??= defaults.maximize;
            return result;
        }

        private protected override OptimizerState NewState(Parameter parameter) => new State(parameter);

        /// <summary>The momentum of one parameter.</summary>
        public sealed class State : OptimizerState, IDisposable
        {
            /// <summary>The running sum of gradients; null before the first step, and without momentum.</summary>
            public Tensor? momentum_buffer;

            /// <param name="parameter">The parameter.</param>
            public State(Parameter parameter)
                : base(parameter)
            {
            }

            /// <inheritdoc/>
            public override void Initialize(OptimizerOptions options) => Replace(ref momentum_buffer, null);

            /// <inheritdoc/>
            public override void SaveStateDict(BinaryWriter writer) => SaveConditionalStateTensor(writer, momentum_buffer);

            /// <inheritdoc/>
            public override void LoadStateDict(BinaryReader reader) => LoadConditionalStateTensor(reader, ref momentum_buffer, _parameter.device);

            /// <inheritdoc/>
            public override void LoadStateDict(OptimizerState source) =>
                Replace(ref momentum_buffer, ((State)source).momentum_buffer?.to(_parameter.device).clone());

            /// <inheritdoc/>
            public override bool ApproximatelyEquals(OptimizerState other) =>
                other is State state && AllClose(momentum_buffer, state.momentum_buffer);

            /// <inheritdoc/>
            public override void to(Device device) => momentum_buffer = momentum_buffer?.to(device).DetachFromDisposeScope();

            /// <summary>Disposes the momentum.</summary>
            public void Dispose() => momentum_buffer?.Dispose();
        }

        /// <summary>The hyper-parameters of a group; null takes the optimiser's default when the group is added.</summary>
        public class Options : OptimizerOptions
        {
            /// <summary>Share of the last step that goes into the next.</summary>
            public double? momentum;

            /// <summary>Share of the gradient that momentum leaves out.</summary>
            public double? dampening;

            /// <summary>L2 penalty.</summary>
            public double? weight_decay;

            /// <summary>Whether to look ahead along the momentum.</summary>
            public bool? nesterov;

            /// <summary>Whether to ascend.</summary>
            public bool? maximize;

            /// <inheritdoc/>
            public override void SaveStateDict(BinaryWriter writer)
            {
                base.SaveStateDict(writer);
                writer.Write(momentum!.Value);
                writer.Write(dampening!.Value);
                writer.Write(weight_decay!.Value);
                writer.Write(nesterov!.Value);
                writer.Write(maximize!.Value);
            }

            /// <inheritdoc/>
            public override void LoadStateDict(BinaryReader reader)
            {
                base.LoadStateDict(reader);
                momentum = reader.ReadDouble();
                dampening = reader.ReadDouble();
                weight_decay = reader.ReadDouble();
                nesterov = reader.ReadBoolean();
                maximize = reader.ReadBoolean();
            }

            /// <inheritdoc/>
            public override void LoadStateDict(OptimizerOptions source)
            {
                base.LoadStateDict(source);
                var other = (Options)source;
                (momentum, dampening, weight_decay) = (other.momentum, other.dampening, other.weight_decay);
                (nesterov, maximize) = (other.nesterov, other.maximize);
            }
        }

        /// <summary>A group of parameters with its hyper-parameters.</summary>
        public class ParamGroup : ParamGroup<Options>, IMomentum
        {
            /// <summary>A group to be filled in.</summary>
            public ParamGroup()
            {
            }

            /// <param name="parameters">The parameters.</param>
            /// <param name="options">The hyper-parameters.</param>
            public ParamGroup(IEnumerable<Parameter> parameters, Options options)
                : base(parameters, options)
            {
            }

            /// <inheritdoc cref="optim.SGD(IEnumerable{Parameter}, double, double, double, double, bool, bool)"/>
            public ParamGroup(IEnumerable<Parameter> parameters, double lr = 1e-3, double momentum = 0.0, double dampening = 0, double weight_decay = 0, bool nesterov = false, bool maximize = false)
                : base(parameters, new Options { LearningRate = lr, momentum = momentum, dampening = dampening, weight_decay = weight_decay, nesterov = nesterov, maximize = maximize })
            {
            }

            /// <inheritdoc/>
            public double Momentum
            {
                get => Options.momentum!.Value;
                set => Options.momentum = value;
            }
        }
    }
}
