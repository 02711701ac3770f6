using Gpt2.Model;
using Gpt2.Text;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Gpt2.Training;

/// <summary>
/// Trains a model step by step. Its state is complete in the sense of a checkpoint: model, optimiser, step number, order
/// of the data, torch's random generator.
/// </summary>
public sealed class Trainer : IDisposable
{
    private readonly Corpus _corpus;
    private readonly BatchSampler _sampler;
    private readonly CosineSchedule _schedule;
    private readonly long[] _validationStarts;

    /// <summary>A new run: seeds torch's global generator and draws the initial weights from it, the same ones for every device.</summary>
    /// <exception cref="ArgumentException">The settings are not possible ones.</exception>
    /// <exception cref="UserException">The text is shorter than one sequence, or the run is larger than this machine's memory.</exception>
    public Trainer(GptConfig config, TrainingOptions options, Corpus corpus, AttentionKind attention, Device? device = null)
    {
        config.Validate();
        options.Validate();

        // A sequence and its targets are context + 1 tokens.
        if (corpus.Training.Length <= config.Context || corpus.Validation.Length <= config.Context)
        {
            throw new UserException(
                $"The text is too short for --context {config.Context}: {corpus.Training.Length:N0} training and " +
                $"{corpus.Validation.Length:N0} validation tokens; each part needs more than the context.");
        }

        RefuseWhatCannotFit(config, options);
        (Options, _corpus, _schedule) = (options, corpus, options.Schedule);
        random.manual_seed(options.Seed);
        Model = new GptModel(config, attention);
        if (device is not null && device.type != DeviceType.CPU)
        {
            cuda.manual_seed_all(options.Seed);
            Model.to(device);
        }

        // GPT-2's two groups: matrices and embeddings are decayed; biases and layer-norm parameters, which are vectors, are not.
        ILookup<bool, (string, Parameter)> byRank = Model.named_parameters().ToLookup(named => named.parameter.dim() >= 2);
        (Decayed, Undecayed) = ([.. byRank[true]], [.. byRank[false]]);
        Optimizer = new AdamW(
            [Group(Decayed, options.WeightDecay), Group(Undecayed, 0)],
            options.LearningRate, options.Beta1, options.Beta2, weight_decay: options.WeightDecay);
        _sampler = new BatchSampler(corpus.Training, options.BatchSize, config.Context, new SplitMix64((ulong)options.Seed));
        _validationStarts = SpreadEvenly(options.ValidationWindows, corpus.Validation.Length - config.Context);

        AdamW.ParamGroup Group(List<(string Name, Parameter Parameter)> parameters, double decay) =>
            new([.. parameters.Select(p => p.Parameter)], options.LearningRate, options.Beta1, options.Beta2, weight_decay: decay);
    }

    /// <summary>The model being trained.</summary>
    public GptModel Model { get; }

    /// <summary>The settings of the run.</summary>
    public TrainingOptions Options { get; }

    /// <summary>Steps finished.</summary>
    public int Step { get; internal set; }

    /// <summary>The losses so far.</summary>
    public LossHistory History { get; internal set; } = new();

    /// <summary>Tokens that one step learns from.</summary>
    public long TokensPerStep => (long)Options.BatchSize * Options.Accumulation * Model.Config.Context;

    internal AdamW Optimizer { get; }

    internal List<(string Name, Parameter Parameter)> Decayed { get; }

    internal List<(string Name, Parameter Parameter)> Undecayed { get; }

    internal ulong DataOrderState { get => _sampler.Random.State; set => _sampler.Random.State = value; }

    /// <summary>One optimiser step over <see cref="TrainingOptions.Accumulation"/> batches.</summary>
    /// <exception cref="UserException">The loss or the gradient is not finite; the model is as before the step.</exception>
    public StepResult TrainStep()
    {
        using DisposeScope scope = NewDisposeScope();
        double learningRate = _schedule.LearningRate(Step);
        foreach (optim.ILearningRateController group in Optimizer.ParamGroups) group.LearningRate = learningRate;

        Model.train();
        Model.zero_grad(set_to_none: true);
        double loss = 0;
        for (int i = 0; i < Options.Accumulation; i++) loss += Backpropagate() / Options.Accumulation;

        double limit = Options.GradientClip > 0 ? Options.GradientClip : double.PositiveInfinity;
        double norm = nn.utils.clip_grad_norm_(Model.parameters(), limit);
        if (!double.IsFinite(loss) || !double.IsFinite(norm)) throw Diverged(Step + 1, $"loss {loss}, gradient norm {norm}");

        Optimizer.step();
        Step++;
        History.Training.Add(new LossPoint(Step, loss));
        return new StepResult(loss, norm, learningRate);
    }

    /// <summary>Mean loss over the validation windows. Draws no random number, so that it does not change the run.</summary>
    /// <exception cref="UserException">It is not finite.</exception>
    public double Validate()
    {
        using IDisposable noGradient = no_grad();
        Model.eval();
        double sum = 0;
        foreach (long[] starts in _validationStarts.Chunk(Options.BatchSize))
        {
            using DisposeScope scope = NewDisposeScope();
            (Tensor inputs, Tensor targets) = BatchSampler.Windows(_corpus.Validation, starts, Model.Config.Context);
            sum += Model.Loss(inputs.to(Model.Device), targets.to(Model.Device)).item<float>() * (double)starts.Length;
        }

        double loss = sum / _validationStarts.Length;
        if (!double.IsFinite(loss)) throw Diverged(Step, $"validation loss {loss}");
        History.Validation.Add(new LossPoint(Step, loss));
        return loss;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Optimizer.Dispose();
        Model.Dispose();
    }

    internal static UserException Diverged(int step, string sign) =>
        new($"Training diverged at step {step}: {sign}. Try a smaller --learning-rate or a longer --warmup.");

    private double Backpropagate()
    {
        using DisposeScope scope = NewDisposeScope();
        (Tensor inputs, Tensor targets) = _sampler.Next();
        Tensor loss = Model.Loss(inputs.to(Model.Device), targets.to(Model.Device));
        (loss / Options.Accumulation).backward();
        return loss.item<float>();
    }

    // What is certainly needed, all of it float32: weights, gradients and two moments; logits and their gradients.
    private static void RefuseWhatCannotFit(GptConfig config, TrainingOptions options)
    {
        double tokens = (double)options.BatchSize * config.Context;
        double needed = sizeof(float) * ((4.0 * config.ParameterCount) + (2 * tokens * config.VocabularySize));
        long available = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        if (tokens <= Array.MaxLength && needed <= available) return;
        throw new UserException(
            $"--batch-size {options.BatchSize} at --context {config.Context} and {config.ParameterCount:N0} parameters take at least " +
            $"{needed / 1e9:N1} GB of memory; there are {available / 1e9:N1} GB.");
    }

    private static long[] SpreadEvenly(int count, long positions) =>
        [.. Enumerable.Range(0, count).Select(i => i * positions / count)];
}

/// <summary>What one optimiser step did.</summary>
/// <param name="Loss">Mean training loss over the step's sequences, before the update.</param>
/// <param name="GradientNorm">2-norm of the whole gradient before clipping.</param>
/// <param name="LearningRate">Learning rate of the step.</param>
public readonly record struct StepResult(double Loss, double GradientNorm, double LearningRate);
