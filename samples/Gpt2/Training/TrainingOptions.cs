namespace Gpt2.Training;

/// <summary>Everything about a training run besides the model, the text and the tokeniser. Part of a checkpoint.</summary>
public sealed record TrainingOptions
{
    /// <summary>Largest learning rate, weight decay and gradient norm: libtorch takes their products as float32.</summary>
    public const double Maximum = 1e6;

    private const int MaximumValidationWindows = 1 << 20;

    /// <summary>Optimiser steps in all.</summary>
    public required int Steps { get; init; }

    /// <summary>Sequences in one forward pass.</summary>
    public required int BatchSize { get; init; }

    /// <summary>Forward passes whose gradients make one step.</summary>
    public int Accumulation { get; init; } = 1;

    /// <summary>Peak learning rate.</summary>
    public required double LearningRate { get; init; }

    /// <summary>Learning rate at the end, as a share of the peak.</summary>
    public double FinalLearningRateShare { get; init; } = 0.1;

    /// <summary>Steps of linear warm-up.</summary>
    public int WarmupSteps { get; init; }

    /// <summary>AdamW's decoupled weight decay, for matrices only.</summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <summary>AdamW's decay of the gradient's first moment.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>AdamW's decay of the gradient's second moment.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>Largest 2-norm of the whole gradient; 0 switches clipping off.</summary>
    public double GradientClip { get; init; } = 1;

    /// <summary>Seed of the initial weights, the order of the data and dropout.</summary>
    public long Seed { get; init; } = 1337;

    /// <summary>Validation windows, spread evenly over the validation text and the same every time.</summary>
    public int ValidationWindows { get; init; } = 32;

    /// <summary>The learning rate of each step.</summary>
    public CosineSchedule Schedule => new(LearningRate, LearningRate * FinalLearningRateShare, WarmupSteps, Steps);

    /// <summary>Refuses settings that no run can have.</summary>
    /// <exception cref="ArgumentException">One of them is out of its range.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(Steps);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(BatchSize);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(Accumulation);
        ArgumentOutOfRangeException.ThrowIfNegative(WarmupSteps);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(ValidationWindows);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ValidationWindows, MaximumValidationWindows);
        Require(LearningRate is > 0 and <= Maximum, nameof(LearningRate), LearningRate);
        Require(FinalLearningRateShare is >= 0 and <= 1, nameof(FinalLearningRateShare), FinalLearningRateShare);
        Require(WeightDecay is >= 0 and <= Maximum, nameof(WeightDecay), WeightDecay);
        Require(Beta1 is >= 0 and < 1, nameof(Beta1), Beta1);
        Require(Beta2 is >= 0 and < 1, nameof(Beta2), Beta2);
        Require(GradientClip is >= 0 and <= Maximum, nameof(GradientClip), GradientClip);

        static void Require(bool isPossible, string name, double value)
        {
            if (!isPossible) throw new ArgumentOutOfRangeException(name, value, $"{name} is impossible.");
        }
    }
}
