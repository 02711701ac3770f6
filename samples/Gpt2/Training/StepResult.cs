namespace Gpt2.Training;

/// <summary>What one optimiser step did.</summary>
/// <param name="Loss">Mean training loss over the step's sequences, before the update.</param>
/// <param name="GradientNorm">2-norm of the whole gradient before clipping.</param>
/// <param name="LearningRate">Learning rate of the step.</param>
public readonly record struct StepResult(double Loss, double GradientNorm, double LearningRate);
