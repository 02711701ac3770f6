using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using Gpt2.Text;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Gpt2;

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

    /// <summary>The file.</summary>
    public string Path => _file.Path;

    /// <summary>Everything but the tensors.</summary>
    public RunState State { get; }

    /// <summary>Saves a run, replacing an older checkpoint only when the new one is complete.</summary>
    /// <param name="path">The file.</param>
    /// <param name="trainer">The run.</param>
    /// <param name="corpus">Its text.</param>
    /// <param name="attention">Its attention.</param>
    /// <param name="keepAs">If given, takes the older checkpoint.</param>
    /// <exception cref="UserException">The run has diverged, there is a file that is not a checkpoint, or it cannot be written.</exception>
    public static void Save(string path, Trainer trainer, CorpusDescription corpus, AttentionKind attention, string? keepAs = null)
    {
        using DisposeScope scope = NewDisposeScope();
        var tensors = new List<(string, Tensor)>();
        tensors.AddRange(trainer.Model.named_parameters().Select(p => (p.name, (Tensor)p.parameter)));

        foreach ((string name, AdamW.State moments) in OptimizerStates(trainer))
        {
            tensors.Add((FirstMomentPrefix + name, moments.exp_avg));
            tensors.Add((SecondMomentPrefix + name, moments.exp_avg_sq));
        }

        // A loss shows a step's harm only in the next step: a good checkpoint is not given for a ruined one.
        foreach ((string name, Tensor tensor) in tensors)
        {
            if (!tensor.isfinite().all().item<bool>()) throw Trainer.Diverged(trainer.Step, $"'{name}' is not finite");
        }

        tensors.Add((GeneratorTensor, random.get_rng_state()));
        var state = new RunState(
            trainer.Model.Config, attention, trainer.Options, corpus, trainer.Step, trainer.DataOrderState, trainer.History);
        var metadata = new Dictionary<string, string> { [FormatKey] = Format, [StateKey] = state.ToJson() };
        OwnFile.Write(path, Recognise, stream => TensorFile.Write(stream, metadata, tensors), keepAs);
    }

    /// <summary>Refuses a file that is not a checkpoint of this program.</summary>
    /// <exception cref="UserException">It is not.</exception>
    public static void Recognise(string path) => Open(path).Dispose();

    /// <summary>Opens a checkpoint.</summary>
    /// <exception cref="UserException">It cannot be read, is damaged, or is a file of another kind.</exception>
    public static Checkpoint Open(string path)
    {
        TensorFile file = TensorFile.Open(path);
        try
        {
            if (file.Metadata.GetValueOrDefault(FormatKey) != Format || !file.Metadata.TryGetValue(StateKey, out string? json))
                throw new UserException($"--checkpoint: {path} holds tensors, but is not a checkpoint of this program.");
            RunState state = RunState.FromJson(json);
            RefuseOtherSizes(file, state.Config);
            return new Checkpoint(file, state);
        }
        catch (Exception e) when (e is JsonException or ArgumentException)
        {
            file.Dispose();
            throw new UserException($"--checkpoint: {path} is a checkpoint with an impossible state: {e.Message}", e);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The tokeniser of the text.</summary>
    /// <exception cref="UserException">Its files cannot be read, or are not those of the run.</exception>
    public ITokenizer LoadTokenizer()
    {
        ITokenizer tokenizer = State.Corpus.Tokenizer.Load();
        return tokenizer.VocabularySize == State.Config.VocabularySize
            ? tokenizer
            : throw new UserException($"The tokeniser has {tokenizer.VocabularySize:N0} tokens, the model {State.Config.VocabularySize:N0}.");
    }

    /// <summary>The trained model alone.</summary>
    /// <exception cref="UserException">The stored tensors do not fit the stored shape.</exception>
    public GptModel LoadModel(AttentionKind attention)
    {
        var model = new GptModel(State.Config, attention);
        try
        {
            LoadParameters(model);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
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
        try
        {
            LoadParameters(trainer.Model);
            foreach ((string name, AdamW.State moments) in OptimizerStates(trainer))
            {
                _file.CopyTo(FirstMomentPrefix + name, moments.exp_avg);
                _file.CopyTo(SecondMomentPrefix + name, moments.exp_avg_sq);
                moments.step = State.Step;
            }

            using Tensor generator = random.get_rng_state();
            _file.CopyTo(GeneratorTensor, generator);
            SetGenerator(generator);
            return trainer;
        }
        catch
        {
            trainer.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    // Before any memory is taken for a model: the file must really hold one of the shape that the state describes.
    private static void RefuseOtherSizes(TensorFile file, GptConfig config)
    {
        ILookup<string, long> bytes = file.Entries.ToLookup(
            tensor => tensor.Key == GeneratorTensor ? GeneratorTensor
                : tensor.Key.StartsWith(FirstMomentPrefix, StringComparison.Ordinal) ? FirstMomentPrefix
                : tensor.Key.StartsWith(SecondMomentPrefix, StringComparison.Ordinal) ? SecondMomentPrefix
                : "",
            tensor => tensor.Value.Length);
        foreach (string group in (string[])["", FirstMomentPrefix, SecondMomentPrefix])
        {
            if (bytes[group].Sum() / sizeof(float) != config.ParameterCount)
                throw new ArgumentException($"the file has {bytes[group].Sum():N0} bytes of '{group}*' for {config.ParameterCount:N0} parameters.", nameof(RunState.Config));
        }
    }

    // TorchSharp ends the process where libtorch refuses a state, so libtorch's conditions are tested here: the size, and left, seeded and
    // next of its Mersenne Twister. Of that, next counts the words of the block that have been used, left those that have not: a larger
    // sum, which libtorch takes, would read beyond the block.
    private void SetGenerator(Tensor state)
    {
        const int LeftOffset = 8, SeededOffset = 12, NextOffset = 16, BlockLength = 624;
        using Tensor current = random.get_rng_state();
        byte[] bytes = state.dtype == current.dtype && state.shape.SequenceEqual(current.shape) ? state.data<byte>().ToArray() : [];
        bool isState = bytes.Length > NextOffset + sizeof(long)
            && BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(SeededOffset)) == 1
            && BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(LeftOffset)) is >= 1 and <= BlockLength and var left
            && BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(NextOffset)) is >= 0 and <= BlockLength and var next
            && left + next <= BlockLength + 1;
        if (!isState)
            throw new UserException($"{_file.Path}: '{GeneratorTensor}' is not a state of libtorch's random generator.");
        random.set_rng_state(state);
    }

    private void LoadParameters(GptModel model)
    {
        foreach ((string name, Parameter parameter) in model.named_parameters()) _file.CopyTo(name, parameter);
    }

    // The optimiser lists its states group by group, in the order in which the groups were given.
    private static IEnumerable<(string Name, AdamW.State State)> OptimizerStates(Trainer trainer) =>
        trainer.Decayed.Concat(trainer.Undecayed)
            .Zip(trainer.Optimizer.state_dict().State, (named, state) => (named.Name, (AdamW.State)state));
}

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
        if (Corpus.Tokens is "") throw new ArgumentException("the file of tokens has no name.", nameof(Corpus));
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
