using System.Text.Json;
using Gpt2.Model;
using Gpt2.Text;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Gpt2.Training;

/// <summary>
/// A run on disk, complete: model, both moments and the step count of every parameter in the optimiser, the step, the order
/// of the data, torch's random generator, the losses, and how the text was made into tokens. A run that is resumed from it
/// goes on bit by bit as if it had not stopped.
/// </summary>
public sealed class Checkpoint : IDisposable
{
    private const string Format = "gpt2-training-1";
    private const string FormatKey = "format";
    private const string StateKey = "state";
    private const string GeneratorTensor = "generator";
    private const string FirstMomentPrefix = "optimizer.exp_avg.";
    private const string SecondMomentPrefix = "optimizer.exp_avg_sq.";

    private readonly TensorFile _file;

    private Checkpoint(TensorFile file, RunState state) => (_file, State) = (file, state);

    /// <summary>Everything but the tensors.</summary>
    public RunState State { get; }

    /// <summary>Saves a run, replacing an older checkpoint only when the new one is complete.</summary>
    public static void Save(string path, Trainer trainer, CorpusDescription corpus, AttentionKind attention)
    {
        using DisposeScope scope = NewDisposeScope();
        var tensors = new List<(string, Tensor)>();
        tensors.AddRange(trainer.Model.named_parameters().Select(p => (p.name, (Tensor)p.parameter)));

        var stepCounts = new Dictionary<string, long>();
        foreach ((string name, AdamW.State moments) in OptimizerStates(trainer))
        {
            tensors.Add((FirstMomentPrefix + name, moments.exp_avg));
            tensors.Add((SecondMomentPrefix + name, moments.exp_avg_sq));
            stepCounts.Add(name, moments.step);
        }

        tensors.Add((GeneratorTensor, random.get_rng_state()));

        var state = new RunState(
            trainer.Model.Config, attention, trainer.Options, corpus, trainer.Step, trainer.DataOrderState, stepCounts, trainer.History);
        var metadata = new Dictionary<string, string> { [FormatKey] = Format, [StateKey] = JsonSerializer.Serialize(state) };
        TensorFile.Write(path, metadata, tensors);
    }

    /// <summary>Opens a checkpoint.</summary>
    /// <exception cref="UserException">It cannot be read, is damaged, or is a file of another kind.</exception>
    public static Checkpoint Open(string path)
    {
        TensorFile file = TensorFile.Open(path);
        try
        {
            if (file.Metadata.GetValueOrDefault(FormatKey) != Format || !file.Metadata.TryGetValue(StateKey, out string? json))
                throw new UserException($"{path} holds tensors, but is not a checkpoint of this program.");
            RunState state = JsonSerializer.Deserialize<RunState>(json)
                ?? throw new UserException($"{path} is a checkpoint without a state.");
            return new Checkpoint(file, state);
        }
        catch (JsonException e)
        {
            file.Dispose();
            throw new UserException($"{path} is a checkpoint with an unreadable state: {e.Message}", e);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The trained model alone.</summary>
    /// <exception cref="UserException">The stored tensors do not fit the stored shape.</exception>
    public GptModel LoadModel(AttentionKind attention)
    {
        var model = new GptModel(State.Config, attention);
        LoadParameters(model);
        return model;
    }

    /// <summary>
    /// The run as it was when it was saved, under the given settings; sets torch's global random generator. A GPU's own generator, which
    /// only dropout there draws from, is not part of a checkpoint.
    /// </summary>
    /// <exception cref="UserException">The tokens are not those of the saved run, or the stored tensors do not fit.</exception>
    public Trainer Resume(Corpus corpus, TrainingOptions options, AttentionKind attention, Device? device = null)
    {
        if (corpus.Fingerprint != State.Corpus.Fingerprint)
            throw new UserException($"The text ({corpus.Name}) is not the one the checkpoint was trained on ({State.Corpus.Name}).");

        var trainer = new Trainer(State.Config, options, corpus, attention, device)
        {
            Step = State.Step,
            DataOrderState = State.DataOrderState,
            History = State.History,
        };
        LoadParameters(trainer.Model);
        foreach ((string name, AdamW.State moments) in OptimizerStates(trainer))
        {
            _file.CopyTo(FirstMomentPrefix + name, moments.exp_avg);
            _file.CopyTo(SecondMomentPrefix + name, moments.exp_avg_sq);
            moments.step = State.OptimizerSteps[name];
        }

        using Tensor generator = random.get_rng_state();
        _file.CopyTo(GeneratorTensor, generator);
        random.set_rng_state(generator);
        return trainer;
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private void LoadParameters(GptModel model)
    {
        foreach ((string name, Parameter parameter) in model.named_parameters()) _file.CopyTo(name, parameter);
    }

    // The optimiser lists its states group by group, in the order in which the groups were given.
    private static IEnumerable<(string Name, AdamW.State State)> OptimizerStates(Trainer trainer) =>
        trainer.Decayed.Concat(trainer.Undecayed)
            .Zip(trainer.Optimizer.state_dict().State, (named, state) => (named.Name, (AdamW.State)state));
}
