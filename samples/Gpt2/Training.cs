using Gpt2.Text;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Gpt2;

/// <summary>Everything about a training run besides the model, the text and the tokeniser. Part of a checkpoint.</summary>
public sealed record TrainingOptions
{
    /// <summary>Largest learning rate, weight decay and gradient norm: libtorch takes their products as float32.</summary>
    public const double Maximum = 1e6;

    private const int MaximumValidationWindows = 1 << 20;

    /// <summary>Optimiser steps in all.</summary>
    public required int Steps { get; init; }

    /// <summary>Sequences in one forward pass.</summary>
    public required int BatchSize { get; init; }

    /// <summary>Forward passes whose gradients make one step.</summary>
    public int Accumulation { get; init; } = 1;

    /// <summary>Peak learning rate.</summary>
    public required double LearningRate { get; init; }

    /// <summary>Learning rate at the end, as a share of the peak.</summary>
    public double FinalLearningRateShare { get; init; } = 0.1;

    /// <summary>Steps of linear warm-up.</summary>
    public int WarmupSteps { get; init; }

    /// <summary>AdamW's decoupled weight decay, for matrices only.</summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <summary>AdamW's decay of the gradient's first moment.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>AdamW's decay of the gradient's second moment.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>Largest 2-norm of the whole gradient; 0 switches clipping off.</summary>
    public double GradientClip { get; init; } = 1;

    /// <summary>Seed of the initial weights, the order of the data and dropout.</summary>
    public long Seed { get; init; } = 1337;

    /// <summary>Validation windows, spread evenly over the validation text and the same every time.</summary>
    public int ValidationWindows { get; init; } = 32;

    /// <summary>The learning rate of each step.</summary>
    public CosineSchedule Schedule => new(LearningRate, LearningRate * FinalLearningRateShare, WarmupSteps, Steps);

    /// <summary>Refuses settings that no run can have.</summary>
    /// <exception cref="ArgumentException">One of them is out of its range.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(Steps);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(BatchSize);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(Accumulation);
        ArgumentOutOfRangeException.ThrowIfNegative(WarmupSteps);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(ValidationWindows);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ValidationWindows, MaximumValidationWindows);
        Require(LearningRate is > 0 and <= Maximum, nameof(LearningRate), LearningRate);
        Require(FinalLearningRateShare is >= 0 and <= 1, nameof(FinalLearningRateShare), FinalLearningRateShare);
        Require(WeightDecay is >= 0 and <= Maximum, nameof(WeightDecay), WeightDecay);
        Require(Beta1 is >= 0 and < 1, nameof(Beta1), Beta1);
        Require(Beta2 is >= 0 and < 1, nameof(Beta2), Beta2);
        Require(GradientClip is >= 0 and <= Maximum, nameof(GradientClip), GradientClip);

        static void Require(bool isPossible, string name, double value)
        {
            if (!isPossible) throw new ArgumentOutOfRangeException(name, value, $"{name} is impossible.");
        }
    }
}

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

/// <summary>Cuts training sequences out of a token stream at random places.</summary>
internal sealed class BatchSampler
{
    private readonly TokenSequence _tokens;
    private readonly int _batchSize;
    private readonly int _context;

    /// <summary><paramref name="random"/> is the order of the data: its state belongs into a checkpoint.</summary>
    internal BatchSampler(TokenSequence tokens, int batchSize, int context, SplitMix64 random)
    {
        (_tokens, _batchSize, _context, Random) = (tokens, batchSize, context, random);
    }

    internal SplitMix64 Random { get; }

    /// <summary>Two (B, N) int64 tensors; the targets are the inputs one token later.</summary>
    internal (Tensor Inputs, Tensor Targets) Next()
    {
        var starts = new long[_batchSize];
        for (int i = 0; i < starts.Length; i++) starts[i] = Random.Next(_tokens.Length - _context);
        return Windows(_tokens, starts, _context);
    }

    /// <summary>The windows of <paramref name="context"/> tokens from each start on, and the same one token later.</summary>
    internal static (Tensor Inputs, Tensor Targets) Windows(TokenSequence tokens, ReadOnlySpan<long> starts, int context)
    {
        var inputs = new long[starts.Length * context];
        var targets = new long[inputs.Length];
        for (int b = 0; b < starts.Length; b++)
        {
            ushort[] window = tokens.Read(starts[b], context + 1);
            for (int i = 0; i < context; i++) (inputs[(b * context) + i], targets[(b * context) + i]) = (window[i], window[i + 1]);
        }

        long[] shape = [starts.Length, context];
        return (tensor(inputs, shape), tensor(targets, shape));
    }
}

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

/// <summary>Steele, Lea and Flood's SplitMix64 random generator: its whole state is one number, easy to save and to resume.</summary>
/// <param name="state">The seed, or a state read from <see cref="State"/>.</param>
public sealed class SplitMix64(ulong state)
{
    /// <summary>The state; a generator with the same one continues this one's sequence.</summary>
    public ulong State { get; set; } = state;

    /// <summary>64 random bits.</summary>
    public ulong NextUInt64()
    {
        State += 0x9E3779B97F4A7C15;
        ulong z = State;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    /// <summary>Uniform in 0 to <paramref name="bound"/> - 1; the bias of the multiplication method is below bound / 2⁶⁴.</summary>
    public long Next(long bound) => (long)Math.BigMul(NextUInt64(), (ulong)bound, out _);

    /// <summary>Uniform in [0, 1), a multiple of 2⁻⁵³.</summary>
    public double NextDouble() => (NextUInt64() >> 11) * (1.0 / (1UL << 53));
}
