using static TorchSharp.torch.optim;

namespace TorchSharp.Modules;

/// <summary>Parameters with the same hyper-parameters.</summary>
public class ParamGroup : ILearningRateController
{
    /// <summary>The parameters.</summary>
    public IEnumerable<Parameter> Parameters { get; set; } = [];

    /// <summary>The hyper-parameters.</summary>
    public OptimizerOptions Options { get; set; } = null!;

    /// <inheritdoc/>
    public double LearningRate
    {
        get => Options.LearningRate!.Value;
        set => Options.LearningRate = value;
    }

    /// <inheritdoc/>
    public double InitialLearningRate
    {
        get => Options.InitialLearningRate;
        set => Options.InitialLearningRate = value;
    }
}

/// <summary>Parameters with the same hyper-parameters of one kind of optimiser.</summary>
/// <typeparam name="TOptions">Class of the hyper-parameters.</typeparam>
public class ParamGroup<TOptions> : ParamGroup
    where TOptions : OptimizerOptions
{
    /// <summary>A group to be filled in.</summary>
    public ParamGroup()
    {
    }

    /// <param name="parameters">The parameters.</param>
    /// <param name="options">The hyper-parameters; null takes the optimiser's defaults.</param>
    public ParamGroup(IEnumerable<Parameter> parameters, TOptions? options = null)
    {
        Parameters = parameters;
        base.Options = options!;
    }

    /// <summary>The hyper-parameters.</summary>
    public new TOptions Options
    {
        get => (TOptions)base.Options;
        set => base.Options = value;
    }
}
