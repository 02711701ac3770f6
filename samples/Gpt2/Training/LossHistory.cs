namespace Gpt2.Training;

/// <summary>A loss after a number of finished steps.</summary>
/// <param name="Step">Steps finished.</param>
/// <param name="Loss">Mean cross-entropy in nats a token.</param>
public readonly record struct LossPoint(int Step, double Loss);

/// <summary>The losses of a run so far. Part of a checkpoint.</summary>
public sealed record LossHistory
{
    /// <summary>Training loss of every step.</summary>
    public List<LossPoint> Training { get; init; } = [];

    /// <summary>Validation loss wherever it was measured.</summary>
    public List<LossPoint> Validation { get; init; } = [];
}
