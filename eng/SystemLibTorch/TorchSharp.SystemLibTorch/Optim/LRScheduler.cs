namespace TorchSharp;

public static partial class torch
{
    public static partial class optim
    {
        /// <summary>Schedules of the learning rate.</summary>
        public static partial class lr_scheduler
        {
            /// <summary>Base class of the schedules. The first rate is set by the constructor, the next ones by <see cref="step()"/>.</summary>
            public abstract class LRScheduler
            {
                /// <summary>Number of rates set.</summary>
                protected int _step_count;

                private protected LRScheduler(Optimizer optimizer, int last_epoch, bool verbose)
                {
                    ArgumentNullException.ThrowIfNull(optimizer);
                    Groups = [.. optimizer.ParamGroups];
                    Epoch = last_epoch;
                    Verbose = verbose;
                    BaseRates = Groups.ConvertAll(group => group.InitialLearningRate);
                }

                private protected List<ILearningRateController> Groups { get; }

                private protected List<double> BaseRates { get; }

                private protected int Epoch { get; private set; }

                private bool Verbose { get; }

                /// <summary>Sets the rates of the next epoch.</summary>
                public virtual void step() => step(null);

                /// <summary>Sets the rates of an epoch.</summary>
                /// <param name="epoch">The epoch; the next one if null.</param>
                public virtual void step(int? epoch)
                {
                    _step_count++;
                    Epoch = epoch ?? Epoch + 1;
                    foreach (var (group, rate) in Groups.Zip(get_lr().ToList()))
                    {
                        if (Verbose && rate != group.LearningRate) Console.WriteLine($"Adjusting learning rate to {rate}");
                        group.LearningRate = rate;
                    }
                }

                /// <summary>The rates set last, one a group.</summary>
                public IEnumerable<double> get_last_lr() => Groups.Select(group => group.LearningRate);

                /// <summary>The rates of the epoch, one a group.</summary>
                protected virtual IEnumerable<double> get_lr() => get_last_lr();
            }

            /// <summary>The schedules.</summary>
            public static partial class impl
            {
                /// <summary>Rates that are a function of the epoch times the initial ones.</summary>
                public class LambdaLR : LRScheduler
                {
                    private readonly List<Func<int, double>> factors;

                    /// <param name="optimizer">The optimiser to control.</param>
                    /// <param name="lr_lambda">The factor, given the epoch.</param>
                    /// <param name="last_epoch">The epoch before the first.</param>
                    /// <param name="verbose">Whether to print changes.</param>
                    public LambdaLR(Optimizer optimizer, Func<int, double> lr_lambda, int last_epoch = -1, bool verbose = false)
                        : base(optimizer, last_epoch, verbose)
                    {
                        ArgumentNullException.ThrowIfNull(lr_lambda);
                        factors = [.. Groups.Select(_ => lr_lambda)];
                        step();
                    }

                    /// <inheritdoc/>
                    protected override IEnumerable<double> get_lr() => BaseRates.Zip(factors, (rate, factor) => rate * factor(Epoch));
                }
            }

            /// <summary>Rates that are a function of the epoch times the initial ones.</summary>
            /// <param name="optimizer">The optimiser to control.</param>
            /// <param name="lr_lambda">The factor, given the epoch.</param>
            /// <param name="last_epoch">The epoch before the first.</param>
            /// <param name="verbose">Whether to print changes.</param>
            public static LRScheduler LambdaLR(Optimizer optimizer, Func<int, double> lr_lambda, int last_epoch = -1, bool verbose = false) =>
                new impl.LambdaLR(optimizer, lr_lambda, last_epoch, verbose);
        }
    }
}
