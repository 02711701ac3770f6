using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.optim;

namespace TorchSharp
{
    public static partial class torch
    {
        public static partial class optim
        {
            /// <summary>Adam with decoupled weight decay (Loshchilov and Hutter, 2019).</summary>
            /// <param name="parameters">The parameters.</param>
            /// <param name="lr">Learning rate.</param>
            /// <param name="beta1">Decay rate of the average of the gradient.</param>
            /// <param name="beta2">Decay rate of the average of its square.</param>
            /// <param name="eps">Added to the denominator.</param>
            /// <param name="weight_decay">Weight decay; unlike in PyTorch there is none by default.</param>
            /// <param name="amsgrad">Whether to divide by the greatest average so far.</param>
            /// <param name="maximize">Whether to ascend.</param>
            public static AdamW AdamW(IEnumerable<Parameter> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false) =>
                new(parameters, lr, beta1, beta2, eps, weight_decay, amsgrad, maximize);

            /// <summary>Adam with decoupled weight decay (Loshchilov and Hutter, 2019).</summary>
            /// <param name="parameters">The parameters with their names, which are not used.</param>
            /// <param name="lr">Learning rate.</param>
            /// <param name="beta1">Decay rate of the average of the gradient.</param>
            /// <param name="beta2">Decay rate of the average of its square.</param>
            /// <param name="eps">Added to the denominator.</param>
            /// <param name="weight_decay">Weight decay; unlike in PyTorch there is none by default.</param>
            /// <param name="amsgrad">Whether to divide by the greatest average so far.</param>
            /// <param name="maximize">Whether to ascend.</param>
            public static AdamW AdamW(IEnumerable<(string name, Parameter parameter)> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false) =>
                new(parameters.Select(entry => entry.parameter), lr, beta1, beta2, eps, weight_decay, amsgrad, maximize);

            /// <summary>Adam with decoupled weight decay (Loshchilov and Hutter, 2019).</summary>
            /// <param name="parameters">The groups of parameters; what their options leave open takes the values below.</param>
            /// <param name="lr">Learning rate.</param>
            /// <param name="beta1">Decay rate of the average of the gradient.</param>
            /// <param name="beta2">Decay rate of the average of its square.</param>
            /// <param name="eps">Added to the denominator.</param>
            /// <param name="weight_decay">Weight decay; unlike in PyTorch there is none by default.</param>
            /// <param name="amsgrad">Whether to divide by the greatest average so far.</param>
            /// <param name="maximize">Whether to ascend.</param>
            public static AdamW AdamW(IEnumerable<AdamW.ParamGroup> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false) =>
                new(parameters, lr, beta1, beta2, eps, weight_decay, amsgrad, maximize);
        }
    }
}

namespace TorchSharp.Modules
{
    /// <summary>Adam with decoupled weight decay (Loshchilov and Hutter, 2019).</summary>
    public class AdamW : OptimizerHelper, IBetas
    {
        private readonly Options defaults;

        /// <inheritdoc cref="optim.AdamW(IEnumerable{Parameter}, double, double, double, double, double, bool, bool)"/>
        public AdamW(IEnumerable<Parameter> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false)
            : this([new ParamGroup { Parameters = parameters }], lr, beta1, beta2, eps, weight_decay, amsgrad, maximize)
        {
        }

        /// <inheritdoc cref="optim.AdamW(IEnumerable{AdamW.ParamGroup}, double, double, double, double, double, bool, bool)"/>
        public AdamW(IEnumerable<ParamGroup> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false)
        {
            if (!(lr >= 0)) throw new ArgumentException($"Invalid learning rate: {lr}", nameof(lr));
            if (!(beta1 is >= 0 and < 1)) throw new ArgumentException($"Invalid beta1: {beta1}", nameof(beta1));
            if (!(beta2 is >= 0 and < 1)) throw new ArgumentException($"Invalid beta2: {beta2}", nameof(beta2));
            if (!(eps >= 0)) throw new ArgumentException($"Invalid eps: {eps}", nameof(eps));
            if (!(weight_decay >= 0)) throw new ArgumentException($"Invalid weight_decay: {weight_decay}", nameof(weight_decay));
            defaults = new Options
            {
                LearningRate = lr,
                InitialLearningRate = lr,
                beta1 = beta1,
                beta2 = beta2,
                eps = eps,
                weight_decay = weight_decay,
                amsgrad = amsgrad,
                maximize = maximize,
            };
            foreach (var group in parameters) add_param_group(group);
        }

        /// <summary>Default decay rates of the averages of the gradient and of its square.</summary>
        public (double, double) Betas
        {
            get => (defaults.beta1!.Value, defaults.beta2!.Value);
            set => (defaults.beta1, defaults.beta2) = value;
        }

        /// <inheritdoc/>
        public override Tensor? step(Func<Tensor>? closure = null) => Step<Options, State>(closure, Update);

        private static void Update(Options options, Parameter parameter, Tensor gradient, State state)
        {
            var (lr, beta1, beta2) = (options.LearningRate!.Value, options.beta1!.Value, options.beta2!.Value);
            var g = options.maximize!.Value ? -gradient : gradient;
            var t = ++state.step;

            parameter.mul_(1 - (lr * options.weight_decay!.Value)); // θ <- (1 - lr λ) θ
            state.exp_avg.mul_(beta1).add_(g, 1 - beta1); // m <- β₁ m + (1 - β₁) g
            state.exp_avg_sq.mul_(beta2).addcmul_(g, g, 1 - beta2); // v <- β₂ v + (1 - β₂) g²

            var v = state.exp_avg_sq;
            if (options.amsgrad!.Value)
            {
                Operator.CallVoid("maximum", "out", state.max_exp_avg_sq, v, state.max_exp_avg_sq);
                v = state.max_exp_avg_sq!;
            }

            // θ <- θ - lr m̂ / (√v̂ + eps), with m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ)
            var denominator = v.sqrt().div_(Math.Sqrt(1 - Math.Pow(beta2, t))).add_(options.eps!.Value);
            parameter.addcdiv_(state.exp_avg, denominator, -lr / (1 - Math.Pow(beta1, t)));
        }

        private protected override OptimizerOptions WithDefaults(OptimizerOptions? options)
        {
            var result = (Options?)options ?? new Options();
            result.LearningRate ??= defaults.LearningRate;
            result.beta1 ??= defaults.beta1;
            result.beta2 ??= defaults.beta2;
            result.eps ??= defaults.eps;
            result.weight_decay ??= defaults.weight_decay;
            result.amsgrad ??= defaults.amsgrad;
            result.maximize ??= defaults.maximize;
            return result;
        }

        private protected override OptimizerState NewState(Parameter parameter) => new State(parameter);

        /// <summary>The running averages of one parameter.</summary>
        public sealed class State : OptimizerState, IDisposable
        {
            /// <summary>Number of steps made.</summary>
            public long step;

            /// <summary>Average of the gradient, m.</summary>
            public Tensor exp_avg = null!;

            /// <summary>Average of its square, v.</summary>
            public Tensor exp_avg_sq = null!;

            /// <summary>The greatest v so far, element by element; null without amsgrad.</summary>
            public Tensor? max_exp_avg_sq;

            /// <param name="parameter">The parameter.</param>
            public State(Parameter parameter)
                : base(parameter)
            {
            }

            /// <inheritdoc/>
            public override void Initialize(OptimizerOptions options)
            {
                step = 0;
                Replace(ref exp_avg!, zeros_like(_parameter));
                Replace(ref exp_avg_sq!, zeros_like(_parameter));
                Replace(ref max_exp_avg_sq, ((Options)options).amsgrad!.Value ? zeros_like(_parameter) : null);
            }

            /// <inheritdoc/>
            public override void SaveStateDict(BinaryWriter writer)
            {
                writer.Write(step);
                exp_avg.Save(writer);
                exp_avg_sq.Save(writer);
                SaveConditionalStateTensor(writer, max_exp_avg_sq);
            }

            /// <inheritdoc/>
            public override void LoadStateDict(BinaryReader reader)
            {
                step = reader.ReadInt64();
                exp_avg.Load(reader);
                exp_avg_sq.Load(reader);
                LoadConditionalStateTensor(reader, ref max_exp_avg_sq, _parameter.device);
            }

            /// <inheritdoc/>
            public override void LoadStateDict(OptimizerState source)
            {
                var other = (State)source;
                step = other.step;
                Replace(ref exp_avg!, other.exp_avg.to(_parameter.device).clone());
                Replace(ref exp_avg_sq!, other.exp_avg_sq.to(_parameter.device).clone());
                Replace(ref max_exp_avg_sq, other.max_exp_avg_sq?.to(_parameter.device).clone());
            }

            /// <inheritdoc/>
            public override bool ApproximatelyEquals(OptimizerState other) =>
                other is State state && step == state.step && AllClose(exp_avg, state.exp_avg)
                && AllClose(exp_avg_sq, state.exp_avg_sq) && AllClose(max_exp_avg_sq, state.max_exp_avg_sq);

            /// <inheritdoc/>
            public override void to(Device device)
            {
                exp_avg = exp_avg.to(device).DetachFromDisposeScope();
                exp_avg_sq = exp_avg_sq.to(device).DetachFromDisposeScope();
                max_exp_avg_sq = max_exp_avg_sq?.to(device).DetachFromDisposeScope();
            }

            /// <summary>Disposes the averages.</summary>
            public void Dispose()
            {
                exp_avg?.Dispose();
                exp_avg_sq?.Dispose();
                max_exp_avg_sq?.Dispose();
            }
        }

        /// <summary>The hyper-parameters of a group; null takes the optimiser's default when the group is added.</summary>
        public class Options : OptimizerOptions
        {
            /// <summary>Decay rate of the average of the gradient.</summary>
            public double? beta1;

            /// <summary>Decay rate of the average of its square.</summary>
            public double? beta2;

            /// <summary>Weight decay.</summary>
            public double? weight_decay;

            /// <summary>Added to the denominator.</summary>
            public double? eps;

            /// <summary>Whether to divide by the greatest average so far.</summary>
            public bool? amsgrad;

            /// <summary>Whether to ascend.</summary>
            public bool? maximize;

            /// <inheritdoc/>
            public override void SaveStateDict(BinaryWriter writer)
            {
                base.SaveStateDict(writer);
                writer.Write(beta1!.Value);
                writer.Write(beta2!.Value);
                writer.Write(eps!.Value);
                writer.Write(weight_decay!.Value);
                writer.Write(amsgrad!.Value);
                writer.Write(maximize!.Value);
            }

            /// <inheritdoc/>
            public override void LoadStateDict(BinaryReader reader)
            {
                base.LoadStateDict(reader);
                beta1 = reader.ReadDouble();
                beta2 = reader.ReadDouble();
                eps = reader.ReadDouble();
                weight_decay = reader.ReadDouble();
                amsgrad = reader.ReadBoolean();
                maximize = reader.ReadBoolean();
            }

            /// <inheritdoc/>
            public override void LoadStateDict(OptimizerOptions source)
            {
                base.LoadStateDict(source);
                var other = (Options)source;
                (beta1, beta2, eps) = (other.beta1, other.beta2, other.eps);
                (weight_decay, amsgrad, maximize) = (other.weight_decay, other.amsgrad, other.maximize);
            }
        }

        /// <summary>A group of parameters with its hyper-parameters.</summary>
        public class ParamGroup : ParamGroup<Options>, IBetas
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

            /// <inheritdoc cref="optim.AdamW(IEnumerable{Parameter}, double, double, double, double, double, bool, bool)"/>
            public ParamGroup(IEnumerable<Parameter> parameters, double lr = 1e-3, double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8, double weight_decay = 0, bool amsgrad = false, bool maximize = false)
                : base(parameters, new Options { LearningRate = lr, beta1 = beta1, beta2 = beta2, eps = eps, weight_decay = weight_decay, amsgrad = amsgrad, maximize = maximize })
            {
            }

            /// <inheritdoc/>
            public (double, double) Betas
            {
                get => (Options.beta1!.Value, Options.beta2!.Value);
                set => (Options.beta1, Options.beta2) = value;
            }
        }
    }
}
