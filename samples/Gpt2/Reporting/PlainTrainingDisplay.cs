namespace Gpt2.Reporting;

/// <summary>About twenty lines a run, for logs and pipes.</summary>
internal sealed class PlainTrainingDisplay(TextWriter output, int firstStep, int lastStep) : ITrainingDisplay
{
    private const int Lines = 20;

    private readonly int _interval = Math.Max(1, (lastStep - firstStep) / Lines);

    /// <inheritdoc/>
    public void Report(TrainingProgress progress)
    {
        int step = progress.Step;
        if (step != firstStep + 1 && step != lastStep && step % _interval != 0) return;
        output.WriteLine(
            $"step {step,6:D}/{lastStep}  {TrainingDisplay.Describe(progress)}  " +
            $"learning rate {progress.Result.LearningRate:E2}  gradient norm {progress.Result.GradientNorm:F2}");
        output.Flush();
    }
}
