using Gpt2.Training;

namespace Gpt2.Reporting;

/// <summary>How far a run is.</summary>
/// <param name="Step">Steps finished.</param>
/// <param name="Result">The last step.</param>
/// <param name="ValidationLoss">The last validation loss, if there is one yet.</param>
/// <param name="TokensPerSecond">Training speed.</param>
public readonly record struct TrainingProgress(int Step, StepResult Result, double? ValidationLoss, double TokensPerSecond);

/// <summary>Shows a training run to the person in front of it.</summary>
public interface ITrainingDisplay
{
    /// <summary>A step is finished.</summary>
    void Report(TrainingProgress progress);
}
