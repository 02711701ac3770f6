using static TorchSharp.torch;

namespace TorchSharp.Modules
{
    /// <summary>A module without parameters and buffers of its own or in its submodules.</summary>
    public interface IParameterLessModule
    {
    }

    /// <summary>Base class of modules of one input that have no parameters and no buffers, so that converting them does nothing.</summary>
    public abstract class ParameterLessModule<T1, TResult> : nn.Module<T1, TResult>, IParameterLessModule
    {
        /// <param name="name">Name of the module's kind.</param>
        protected ParameterLessModule(string name)
            : base(name)
        {
        }

        /// <inheritdoc/>
        protected internal override nn.Module _to(Device device, ScalarType dtype, bool non_blocking) => this;

        /// <inheritdoc/>
        protected internal override nn.Module _to(DeviceType deviceType, int deviceIndex, bool non_blocking) => this;

        /// <inheritdoc/>
        protected internal override nn.Module _to(ScalarType dtype, bool non_blocking) => this;

        /// <summary>Not possible here.</summary>
        /// <exception cref="InvalidOperationException">Always.</exception>
        public override void register_buffer(string name, Tensor tensor, bool persistent = true) =>
            throw new InvalidOperationException("A buffer cannot be registered with a module that is declared parameter-less.");

        /// <summary>Not possible here.</summary>
        /// <exception cref="InvalidOperationException">Always.</exception>
        public override void register_parameter(string name, Parameter param) =>
            throw new InvalidOperationException("A parameter cannot be registered with a module that is declared parameter-less.");

        /// <inheritdoc/>
        /// <exception cref="InvalidOperationException">The submodule is not parameter-less.</exception>
        public override void register_module(string name, nn.Module submodule)
        {
            if (submodule is not IParameterLessModule)
            {
                throw new InvalidOperationException("The submodules of a parameter-less module must be parameter-less too.");
            }

            base.register_module(name, submodule);
        }
    }

    /// <summary>y = x.</summary>
    public sealed class Identity : ParameterLessModule<Tensor, Tensor>
    {
        internal Identity()
            : base(nameof(Identity))
        {
        }

        /// <summary>A new object over the input's storage.</summary>
        /// <param name="tensor">x.</param>
        public override Tensor forward(Tensor tensor) => tensor.alias();
    }

    /// <summary>y = max(x, 0).</summary>
    public sealed class ReLU : ParameterLessModule<Tensor, Tensor>
    {
        internal ReLU(bool inplace)
            : base(nameof(ReLU))
        {
            this.inplace = inplace;
        }

        /// <summary>Whether the input itself is changed.</summary>
        public bool inplace { get; set; }

        /// <summary>Applies the activation.</summary>
        /// <param name="tensor">x.</param>
        public override Tensor forward(Tensor tensor) => nn.functional.relu(tensor, inplace);
    }

    /// <summary>y = x Φ(x), with Φ the distribution function of N(0, 1).</summary>
    public sealed class GELU : ParameterLessModule<Tensor, Tensor>
    {
        internal GELU(bool inplace)
            : base(nameof(GELU))
        {
            this.inplace = inplace;
        }

        /// <summary>Whether the input itself is changed.</summary>
        public bool inplace { get; set; }

        /// <summary>Applies the activation.</summary>
        /// <param name="tensor">x.</param>
        public override Tensor forward(Tensor tensor) => nn.functional.gelu(tensor, inplace);
    }

    /// <summary>Zeroes elements with probability p in training and scales the others by 1 / (1 - p); in evaluation it does nothing.</summary>
    public sealed class Dropout : ParameterLessModule<Tensor, Tensor>
    {
        internal Dropout(double p, bool inplace)
            : base(nameof(Dropout))
        {
            this.p = p;
            this.inplace = inplace;
        }

        /// <summary>Probability of an element to be zeroed.</summary>
        public double p { get; set; }

        /// <summary>Whether the input itself is changed.</summary>
        public bool inplace { get; set; }

        /// <summary>Applies the dropout.</summary>
        /// <param name="tensor">The input.</param>
        public override Tensor forward(Tensor tensor) => nn.functional.dropout(tensor, p, training, inplace);
    }
}

namespace TorchSharp
{
    public static partial class torch
    {
        public static partial class nn
        {
            /// <summary>A module that returns its input.</summary>
            public static Modules.Identity Identity() => new();

            /// <summary>The rectified linear unit.</summary>
            /// <param name="inplace">Whether to change the input itself.</param>
            public static Modules.ReLU ReLU(bool inplace = false) => new(inplace);

            /// <summary>The Gaussian error linear unit.</summary>
            public static Modules.GELU GELU() => new(false);

            /// <summary>The Gaussian error linear unit.</summary>
            /// <param name="inplace">Whether to change the input itself.</param>
            public static Modules.GELU GELU(bool inplace) => new(inplace);

            /// <summary>Zeroes elements at random in training.</summary>
            /// <param name="p">Probability of an element to be zeroed.</param>
            /// <param name="inplace">Whether to change the input itself.</param>
            public static Modules.Dropout Dropout(double p = 0.5, bool inplace = false) => new(p, inplace);
        }
    }
}
