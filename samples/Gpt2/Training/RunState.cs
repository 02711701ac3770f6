using System.Text.Json;
using Gpt2.Model;
using Gpt2.Text;

namespace Gpt2.Training;

/// <summary>The part of a checkpoint that is not tensors.</summary>
/// <param name="Config">Shape of the model.</param>
/// <param name="Attention">The attention the run used.</param>
/// <param name="Options">Settings of the run.</param>
/// <param name="Corpus">The text and its tokeniser.</param>
/// <param name="Step">Steps finished.</param>
/// <param name="DataOrderState">State of the generator that picks training sequences.</param>
/// <param name="History">The losses so far.</param>
public sealed record RunState(
    GptConfig Config,
    AttentionKind Attention,
    TrainingOptions Options,
    CorpusDescription Corpus,
    int Step,
    ulong DataOrderState,
    LossHistory History)
{
    // A checkpoint is strict about what it says, but may say more than this version reads.
    private static readonly JsonSerializerOptions Strict =
        new(JsonSerializerOptions.Strict) { UnmappedMemberHandling = System.Text.Json.Serialization.JsonUnmappedMemberHandling.Skip };

    /// <summary>The state as JSON.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, Strict);

    /// <summary>The state in <paramref name="json"/>.</summary>
    /// <exception cref="JsonException">The text is not a state.</exception>
    /// <exception cref="ArgumentException">No run can have been in such a state.</exception>
    public static RunState FromJson(string json)
    {
        RunState state = JsonSerializer.Deserialize<RunState>(json, Strict) ?? throw new JsonException("the state is null.");
        state.Validate();
        return state;
    }

    private void Validate()
    {
        Config.Validate();
        Options.Validate();
        if (!Enum.IsDefined(Attention)) throw new ArgumentException($"there is no attention {(int)Attention}.", nameof(Attention));
        if (Corpus.Files.Any(file => string.IsNullOrEmpty(file))) throw new ArgumentException("a file has no name.", nameof(Corpus));
        if (Step < 0 || Step > Options.Steps) throw new ArgumentException($"{Step} of {Options.Steps} steps are finished.", nameof(Step));
        bool isWhole = History.Training.Count == Step && History.Training.Index().All(entry => entry.Item.Step == entry.Index + 1);
        if (!isWhole) throw new ArgumentException($"it must have a training loss for each of the {Step} steps.", nameof(History));
        foreach (LossPoint point in History.Training.Concat(History.Validation))
        {
            // Losses are sums of float32 values: anything larger is no loss, and nothing that could be drawn.
            if (point.Step < 0 || point.Step > Step || !(Math.Abs(point.Loss) <= float.MaxValue))
                throw new ArgumentException($"no run of {Step} steps has a loss of {point.Loss} after step {point.Step}.", nameof(History));
        }
    }
}

/// <summary>A loss after a number of finished steps.</summary>
/// <param name="Step">Steps finished.</param>
/// <param name="Loss">Mean cross-entropy in nats a token.</param>
public readonly record struct LossPoint(int Step, double Loss);

/// <summary>The losses of a run so far.</summary>
public sealed record LossHistory
{
    /// <summary>Training loss of every step.</summary>
    public List<LossPoint> Training { get; init; } = [];

    /// <summary>Validation loss wherever it was measured.</summary>
    public List<LossPoint> Validation { get; init; } = [];
}
