using static TorchSharp.torch;

namespace TorchSharp
{
    /// <summary>Base class of losses of two inputs.</summary>
    public abstract class Loss<T1, T2, TResult> : nn.Module<T1, T2, TResult>
    {
        /// <param name="reduction">What to do with the values of the elements.</param>
        public Loss(nn.Reduction reduction = nn.Reduction.Mean)
            : base("Loss")
        {
            this.reduction = reduction;
        }

        /// <summary>What the loss does with its values for the elements.</summary>
        public nn.Reduction reduction { get; }
    }

    /// <summary>Base class of losses of two inputs with weighted classes.</summary>
    public abstract class WeightedLoss<T1, T2, TResult> : Loss<T1, T2, TResult>
    {
        /// <param name="weight">Weights of the classes, or null.</param>
        /// <param name="reduction">What to do with the values of the elements.</param>
        public WeightedLoss(Tensor? weight = null, nn.Reduction reduction = nn.Reduction.Mean)
            : base(reduction)
        {
            this.weight = weight;
        }

        /// <summary>Weights of the classes, or null.</summary>
        public Tensor? weight { get; }
    }

    public static partial class torch
    {
        public static partial class nn
        {
            /// <summary>The cross-entropy between the softmax of logits and the true classes.</summary>
            /// <param name="weight">Weights of the classes, of shape (C), or null.</param>
            /// <param name="ignore_index">Class index whose elements do not count.</param>
            /// <param name="reduction">What to do with the values of the elements.</param>
            public static Modules.CrossEntropyLoss CrossEntropyLoss(Tensor? weight = null, long? ignore_index = null, Reduction reduction = Reduction.Mean) =>
                new(weight, ignore_index, reduction);

            /// <summary>The squared error.</summary>
            /// <param name="reduction">What to do with the values of the elements.</param>
            public static Modules.MSELoss MSELoss(Reduction reduction = Reduction.Mean) => new(reduction);
        }
    }
}

namespace TorchSharp.Modules
{
    /// <summary>The cross-entropy between the softmax of logits and the true classes, in nats.</summary>
    public sealed class CrossEntropyLoss : WeightedLoss<Tensor, Tensor, Tensor>
    {
        /// <param name="weight">Weights of the classes, of shape (C), or null.</param>
        /// <param name="ignore_index">Class index whose elements do not count; -100 if null.</param>
        /// <param name="reduction">What to do with the values of the elements.</param>
        /// <param name="label_smoothing">Share of the target spread evenly over the classes.</param>
        public CrossEntropyLoss(Tensor? weight = null, long? ignore_index = null, nn.Reduction reduction = nn.Reduction.Mean, double label_smoothing = 0.0)
            : base(weight, reduction)
        {
            this.ignore_index = ignore_index;
            this.label_smoothing = label_smoothing;
        }

        /// <summary>Class index whose elements do not count.</summary>
        public long? ignore_index { get; }

        /// <summary>Share of the target spread evenly over the classes.</summary>
        public double label_smoothing { get; }

        /// <inheritdoc cref="nn.functional.cross_entropy"/>
        public override Tensor forward(Tensor input, Tensor target) =>
            nn.functional.cross_entropy(input, target, weight, ignore_index ?? -100, reduction, label_smoothing);
    }

    /// <summary>The squared error, (x - y)².</summary>
    public sealed class MSELoss : Loss<Tensor, Tensor, Tensor>
    {
        /// <param name="reduction">What to do with the values of the elements.</param>
        public MSELoss(nn.Reduction reduction = nn.Reduction.Mean)
            : base(reduction)
        {
        }

        /// <inheritdoc cref="nn.functional.mse_loss"/>
        public override Tensor forward(Tensor input, Tensor target) => nn.functional.mse_loss(input, target, reduction);
    }
}
