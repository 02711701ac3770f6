using Spectre.Console;

namespace Gpt2.Reporting;

/// <summary>Chooses between a live progress bar and plain lines.</summary>
public static class TrainingDisplay
{
    /// <summary>Runs <paramref name="train"/> under a progress bar on a terminal, else with about twenty plain lines in all.</summary>
    /// <param name="output">Where to show it.</param>
    /// <param name="firstStep">Steps finished before the run.</param>
    /// <param name="lastStep">Steps finished after the run.</param>
    /// <param name="train">The run.</param>
    public static void Run(TextWriter output, int firstStep, int lastStep, Action<ITrainingDisplay> train)
    {
        IAnsiConsole console = AnsiConsole.Console;
        bool isTerminal = ReferenceEquals(output, Console.Out) && console.Profile.Capabilities is { Interactive: true, Ansi: true };
        if (!isTerminal)
        {
            train(new PlainTrainingDisplay(output, firstStep, lastStep));
            return;
        }

        console.Progress()
            .AutoClear(false)
            .Columns(new ProgressBarColumn(), new PercentageColumn(), new TaskDescriptionColumn { Alignment = Justify.Left }, new RemainingTimeColumn())
            .Start(context =>
            {
                ProgressTask bar = context.AddTask("training", maxValue: lastStep);
                bar.Value = firstStep;
                train(new LiveTrainingDisplay(bar));
            });
    }

    /// <summary>The losses and the speed in a few words.</summary>
    internal static string Describe(TrainingProgress progress)
    {
        string validation = progress.ValidationLoss is { } loss ? $"  validation {loss:F3}" : "";
        return $"loss {progress.Result.Loss:F3}{validation}  {progress.TokensPerSecond:N0} tokens/s";
    }
}
