namespace Gpt2.Training;

/// <summary>Linear warm-up to the peak, then half a cosine down to the minimum.</summary>
/// <param name="Peak">Learning rate at the end of the warm-up.</param>
/// <param name="Minimum">Learning rate that the cosine approaches.</param>
/// <param name="WarmupSteps">Number of rising steps.</param>
/// <param name="Steps">Number of steps in all.</param>
public sealed record CosineSchedule(double Peak, double Minimum, int WarmupSteps, int Steps)
{
    /// <summary>The learning rate of step 0, 1, ...; from <see cref="Steps"/> on it stays at the minimum.</summary>
    public double LearningRate(int step)
    {
        if (step < WarmupSteps) return Peak * (step + 1) / WarmupSteps;
        if (step >= Steps) return Minimum;
        double progress = (double)(step - WarmupSteps) / (Steps - WarmupSteps);
        return Minimum + ((Peak - Minimum) * 0.5 * (1 + Math.Cos(Math.PI * progress)));
    }
}
