using Gpt2.Training;
using Spectre.Console;

namespace Gpt2.Reporting;

/// <summary>How far a run is.</summary>
/// <param name="Step">Steps finished.</param>
/// <param name="Result">The last step.</param>
/// <param name="ValidationLoss">The last validation loss, if there is one yet.</param>
/// <param name="TokensPerSecond">Training speed.</param>
public readonly record struct TrainingProgress(int Step, StepResult Result, double? ValidationLoss, double TokensPerSecond)
{
    /// <summary>The losses and the speed in a few words.</summary>
    public override string ToString()
    {
        string validation = ValidationLoss is { } loss ? $"  validation {loss:F3}" : "";
        return $"loss {Result.Loss:F3}{validation}  {TokensPerSecond:N0} tokens/s";
    }
}

/// <summary>Shows a training run to the person in front of it.</summary>
public static class TrainingDisplay
{
    private const int PlainLines = 20;

    /// <summary>Runs <paramref name="train"/> under a progress bar on a terminal, else with about twenty plain lines in all.</summary>
    /// <param name="output">Where to show it.</param>
    /// <param name="firstStep">Steps finished before the run.</param>
    /// <param name="lastStep">Steps finished after the run.</param>
    /// <param name="train">The run; it calls its argument after every step.</param>
    /// <exception cref="IOException">Nobody takes the output any more.</exception>
    public static void Run(TextWriter output, int firstStep, int lastStep, Action<Action<TrainingProgress>> train)
    {
        IAnsiConsole console = AnsiConsole.Console;
        bool isTerminal = ReferenceEquals(output, Console.Out) && console.Profile.Capabilities is { Interactive: true, Ansi: true };
        if (!isTerminal)
        {
            train(progress => WriteLine(output, firstStep, lastStep, progress));
            return;
        }

        console.Progress()
            .AutoClear(false)
            .Columns(new ProgressBarColumn(), new PercentageColumn(), new TaskDescriptionColumn { Alignment = Justify.Left }, new RemainingTimeColumn())
            .Start(context =>
            {
                ProgressTask bar = context.AddTask("training", maxValue: lastStep);
                bar.Value = firstStep;
                train(progress =>
                {
                    bar.Value = progress.Step;
                    bar.Description = Markup.Escape($"step {progress.Step}/{lastStep}  {progress}");
                });
            });
    }

    private static void WriteLine(TextWriter output, int firstStep, int lastStep, TrainingProgress progress)
    {
        int step = progress.Step, interval = Math.Max(1, (lastStep - firstStep) / PlainLines);
        if (step == firstStep + 1 || step == lastStep || step % interval == 0)
        {
            output.WriteLine(
                $"step {step,6:D}/{lastStep}  {progress}  " +
                $"learning rate {progress.Result.LearningRate:E2}  gradient norm {progress.Result.GradientNorm:F2}");
        }

        // Also without a line: it tells that a pipe has been closed.
        output.Flush();
    }
}
