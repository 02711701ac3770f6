using Spectre.Console;

namespace Gpt2.Reporting;

/// <summary>A progress bar that shows the current losses.</summary>
internal sealed class LiveTrainingDisplay(ProgressTask bar) : ITrainingDisplay
{
    /// <inheritdoc/>
    public void Report(TrainingProgress progress)
    {
        bar.Value = progress.Step;
        bar.Description = Markup.Escape($"step {progress.Step}/{bar.MaxValue:F0}  {TrainingDisplay.Describe(progress)}");
    }
}
