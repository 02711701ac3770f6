using System.CommandLine;
using System.CommandLine.Parsing;
using System.Diagnostics;
using System.Runtime.ExceptionServices;
using Gpt2.Text;
using Spectre.Console;
using TorchSharp;

namespace Gpt2.Cli;

/// <summary>The <c>train</c> verb: its options and what they mean together.</summary>
internal sealed class TrainCommand
{
    private readonly Option<string> _preset = CommonOptions.Choice("--preset", "Size of the model.", [.. Preset.All.Select(preset => preset.Name)]);

    private readonly Option<string> _attention = CommonOptions.Attention();
    private readonly Option<FileInfo> _checkpoint = CommonOptions.Checkpoint();
    private readonly Option<int?> _threads = CommonOptions.Threads();
    private readonly Option<string> _device = CommonOptions.Device();

    private readonly Option<bool> _resume = new("--resume")
    {
        Description = "Go on from the checkpoint. Only --steps (which stretches the learning-rate schedule), --attention, --threads, --device and the intervals may be given anew.",
    };

    private readonly Option<FileInfo[]> _data = CommonOptions.Data("UTF-8 text files to learn from. Default: the .NET SDK's API documentation.");
    private readonly Option<FileInfo?> _tokens = CommonOptions.ExistingFile("--tokens", "A file of tokens, made by: tokenizer encode. In place of --data, --vocab and --merges.");
    private readonly Option<string?> _weights = CommonOptions.Weights();
    private readonly Option<FileInfo?> _vocabulary = CommonOptions.Vocabulary();
    private readonly Option<FileInfo?> _merges = CommonOptions.Merges();
    private readonly Option<int?> _steps = Count("--steps", "Optimiser steps in all. Default: by preset.");
    private readonly Option<int?> _batchSize = Count("--batch-size", "Sequences in a forward pass. Default: by preset.");
    private readonly Option<int?> _accumulation = Count("--accumulate", "Forward passes a step.", 1);
    private readonly Option<int?> _context = Count("--context", "Tokens in a sequence. Default: by preset.");
    private readonly Option<double?> _learningRate = CommonOptions.Number<double>(
        "--learning-rate", "Peak learning rate. Default: by preset, 3e-5 with --weights.", "a number greater than 0, at most 1e6", x => x is > 0 and <= TrainingOptions.Maximum);

    private readonly Option<int?> _warmup = CommonOptions.Number<int>(
        "--warmup", "Warm-up steps. Default: a tenth of --steps, 20 to 200.", "a whole number, at least 0", x => x >= 0);

    private readonly Option<double?> _weightDecay = CommonOptions.Number<double>(
        "--weight-decay", "AdamW's weight decay of matrices.", "a number, 0 to 1e6", x => x is >= 0 and <= TrainingOptions.Maximum, 0.1);

    private readonly Option<double?> _clip = CommonOptions.Number<double>(
        "--clip", "Largest norm of the gradient; 0: no clipping.", "a number, 0 to 1e6", x => x is >= 0 and <= TrainingOptions.Maximum, 1.0);

    private readonly Option<double?> _dropout = CommonOptions.Number<double>(
        "--dropout", "Dropout probability.", "a number, at least 0 and less than 1", x => x is >= 0 and < 1, 0.0);

    private readonly Option<long?> _seed = CommonOptions.Number<long>(
        "--seed", "Seed of weights, data order and dropout.", "a whole number", _ => true, 1337L);

    private readonly Option<int?> _validateEvery = Count("--validate-every", "Steps between validations. Default: a tenth of --steps.");
    private readonly Option<int?> _saveEvery = Count("--save-every", "Steps between checkpoints. Default: a tenth of --steps, at most 500.");

    private readonly Command _command = new("train", "Train a GPT-2 model, print a sample of it, and leave a checkpoint and the loss curve (SVG).");

    private TrainCommand()
    {

        foreach (Option option in AllOptions()) _command.Add(option);
        _command.Validators.Add(CheckTogether);
        _command.SetAction(Run);
    }

    private static Option<int?> Count(string name, string description, int? defaultValue = null) =>
        CommonOptions.Number(name, description, "a whole number, at least 1", x => x > 0, defaultValue);

    internal static Command Create() => new TrainCommand()._command;

    private IEnumerable<Option> AllOptions() =>
    [
        _preset, _attention, _checkpoint, _threads, _device, _resume, _weights, _tokens, _data, _vocabulary, _merges, _steps, _batchSize, _accumulation, _context,
        _learningRate, _warmup, _weightDecay, _clip, _dropout, _seed, _validateEvery, _saveEvery,
    ];

    private void CheckTogether(CommandResult result)
    {
        bool Given(Option option) => result.GetResult(option) is { Implicit: false };

        if (Given(_vocabulary) != Given(_merges)) result.AddError("--vocab and --merges belong together: give both or neither.");
        if (Given(_tokens) && (Given(_data) || Given(_vocabulary))) result.AddError("--tokens takes the place of --data, --vocab and --merges.");
        if (Given(_weights) && Given(_preset)) result.AddError("--preset cannot be given with --weights, which have a size.");
        if (!Given(_resume)) return;
        Option[] allowed = [_resume, _checkpoint, _threads, _device, _steps, _attention, _validateEvery, _saveEvery];
        foreach (Option option in AllOptions().Except(allowed).Where(Given))
            result.AddError($"{option.Name} cannot be given with --resume: the checkpoint says it.");
    }

    // What a run writes may take the place of nothing that it reads, nor of something else that it writes.
    private void RefuseToOverwriteInputs(ParseResult parsed, FileInfo checkpoint)
    {
        string path = checkpoint.FullName;
        if (Path.EndsInDirectorySeparator(path)) throw new UserException($"--checkpoint: {path} is a folder; name a file.");
        if (Path.GetExtension(path).Equals(".svg", StringComparison.OrdinalIgnoreCase))
            throw new UserException($"--checkpoint: '{checkpoint}' has the extension of the loss curve, which is drawn beside the checkpoint; give another one.");

        StringComparer comparer = OperatingSystem.IsWindows() ? StringComparer.OrdinalIgnoreCase : StringComparer.Ordinal;
        string[] written = [path, TrainingSession.PicturePath(path), TrainingSession.PreviousPath(path)];
        foreach (FileInfo? read in (FileInfo?[])[.. parsed.GetValue(_data) ?? [], parsed.GetValue(_vocabulary), parsed.GetValue(_merges), parsed.GetValue(_tokens)])
        {
            if (read is not null && written.Contains(read.ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? read.FullName, comparer))
                throw new UserException($"--checkpoint: {path} would take the place of {read.FullName}, which the run reads; name another file.");
        }
    }

    private int Run(ParseResult parsed)
    {
        CommonOptions.ApplyThreads(parsed.GetValue(_threads));
        torch.Device device = CommonOptions.ParseDevice(parsed, _device);
        TextWriter output = parsed.InvocationConfiguration.Output;
        FileInfo checkpoint = parsed.GetRequiredValue(_checkpoint);
        RefuseToOverwriteInputs(parsed, checkpoint);
        string path = checkpoint.FullName;
        AttentionKind? attention = parsed.GetResult(_attention) is { Implicit: false } ? CommonOptions.ParseAttention(parsed, _attention) : null;
        using TrainingSession session = parsed.GetValue(_resume)
            ? TrainingSession.Resume(output, path, parsed.GetValue(_steps), attention, device)
            : Start();

        int tenth = Math.Max(1, session.Trainer.Options.Steps / 10);
        return session.Run(parsed.GetValue(_validateEvery) ?? tenth, parsed.GetValue(_saveEvery) ?? Math.Min(tenth, 500));

        TrainingSession Start()
        {
            using Weights? weights = parsed.GetValue(_weights) is { } folder ? Weights.Open(folder) : null;
            return TrainingSession.Start(output, path, Settings(parsed, weights), attention ?? AttentionKind.Flash, device);
        }
    }

    private TrainingSettings Settings(ParseResult parsed, Weights? weights)
    {
        Preset preset = weights is null ? Preset.Named(parsed.GetRequiredValue(_preset)) : Preset.Named("gpt2") with { LearningRate = 3e-5 };
        int steps = parsed.GetValue(_steps) ?? preset.Steps;
        var options = new TrainingOptions
        {
            Steps = steps,
            BatchSize = parsed.GetValue(_batchSize) ?? preset.BatchSize,
            Accumulation = parsed.GetValue(_accumulation)!.Value,
            LearningRate = parsed.GetValue(_learningRate) ?? preset.LearningRate,
            WarmupSteps = parsed.GetValue(_warmup) ?? Math.Min(steps, Math.Clamp(steps / 10, 20, 200)),
            WeightDecay = parsed.GetValue(_weightDecay)!.Value,
            GradientClip = parsed.GetValue(_clip)!.Value,
            Seed = parsed.GetValue(_seed)!.Value,
        };
        FileInfo? tokens = parsed.GetValue(_tokens);
        TokenizerDescription? tokenizer = tokens is not null ? null // the file says it
            : weights is not null ? CommonOptions.WeightsTokenizer(weights, parsed.GetValue(_vocabulary), parsed.GetValue(_merges))
            : parsed.GetValue(_vocabulary) is { } vocabulary && parsed.GetValue(_merges) is { } merges
            ? new TokenizerDescription(BytePairTokenizer.Kind, vocabulary.FullName, merges.FullName)
            : new TokenizerDescription(ByteTokenizer.Kind);
        string[] files = [.. (parsed.GetValue(_data) ?? []).Select(file => file.FullName)];
        return new TrainingSettings(
            weights, preset, parsed.GetValue(_context) ?? weights?.Config.Context ?? preset.Context, parsed.GetValue(_dropout)!.Value, options, files, tokenizer, tokens?.FullName);
    }
}

/// <summary>What the command line asks of a new run.</summary>
internal sealed record TrainingSettings(
    Weights? Weights, Preset Preset, int Context, double Dropout, TrainingOptions Options, string[] Files, TokenizerDescription? Tokenizer, string? Tokens);

/// <summary>One <c>train</c> from start to end: prepare, train, save, show.</summary>
internal sealed class TrainingSession : IDisposable
{
    private const int SampleTokens = 400;
    private const double SampleTemperature = 0.7;
    private const int SampleTopK = 50;

    private readonly TextWriter _output;
    private readonly string _path;
    private readonly AttentionKind _attention;
    private readonly ITokenizer _tokenizer;
    private readonly CorpusDescription _corpus;
    private readonly Corpus _text;

    // Where the checkpoint of an earlier run goes with the first save.
    private string? _keepAs;

    private TrainingSession(
        TextWriter output, string path, Trainer trainer, AttentionKind attention, ITokenizer tokenizer, CorpusDescription corpus, Corpus text)
    {
        (_output, _path, Trainer, _attention, _tokenizer, _corpus, _text) = (output, path, trainer, attention, tokenizer, corpus, text);
    }

    internal Trainer Trainer { get; }

    private string CurvePath => PicturePath(_path);

    /// <summary>Where the loss curve of a run goes.</summary>
    internal static string PicturePath(string path) => Path.ChangeExtension(path, ".svg");

    /// <summary>Where a new run keeps the checkpoint of an earlier one.</summary>
    internal static string PreviousPath(string path) => Path.ChangeExtension(path, ".previous" + Path.GetExtension(path));

    /// <summary>A new run. A checkpoint of an earlier one is kept under another name as soon as there is a newer one.</summary>
    internal static TrainingSession Start(TextWriter output, string path, TrainingSettings settings, AttentionKind attention, torch.Device device)
    {
        bool replaces = OwnFile.Exists(path, Checkpoint.Recognise);
        if (replaces) OwnFile.Exists(PreviousPath(path), Checkpoint.Recognise);
        ProbeFiles(path);
        (Corpus corpus, TokenizerDescription usedTokenizer, ITokenizer tokenizer) = LoadText(settings);
        if (settings.Weights is { } weights)
        {
            weights.Checked(tokenizer);
            if (settings.Context > weights.Config.Context) throw new UserException($"--context {settings.Context}: the weights have {weights.Config.Context} positions.");
        }

        GptConfig config = (settings.Weights?.Config ?? settings.Preset.Config(tokenizer.VocabularySize)) with { Context = settings.Context, Dropout = settings.Dropout };
        var trainer = new Trainer(config, settings.Options, corpus, attention, device);
        settings.Weights?.CopyTo(trainer.Model);
        var description = new CorpusDescription(settings.Files, corpus.Name, corpus.Fingerprint, usedTokenizer, settings.Tokens);
        var session = new TrainingSession(output, path, trainer, attention, tokenizer, description, corpus);
        session.Describe(settings.Weights?.Folder ?? settings.Preset.Name, corpus);
        if (replaces)
        {
            session._keepAs = PreviousPath(path);
            output.WriteLine($"The checkpoint of an earlier run will be kept as {session._keepAs}.");
        }

        return session;
    }

    /// <summary>Goes on from a checkpoint.</summary>
    internal static TrainingSession Resume(TextWriter output, string path, int? steps, AttentionKind? attention, torch.Device device)
    {
        using Checkpoint checkpoint = Checkpoint.Open(path);
        RunState state = checkpoint.State;
        TrainingOptions options = state.Options with { Steps = steps ?? state.Options.Steps };
        if (state.Step >= options.Steps)
            throw new UserException($"{path} has finished its {state.Step} steps; give a larger --steps to go on.");

        OwnFile.Exists(path, Checkpoint.Recognise);
        ProbeFiles(path);
        AttentionKind kind = attention ?? state.Attention;
        ITokenizer tokenizer = checkpoint.LoadTokenizer();
        Corpus corpus = state.Corpus.Load(tokenizer);
        Trainer trainer = checkpoint.Resume(corpus, options, kind, device);
        var session = new TrainingSession(output, path, trainer, kind, tokenizer, state.Corpus, corpus);
        session.Describe($"resumed after step {state.Step}", corpus);
        return session;
    }

    /// <summary>Trains to the end, or until the user stops it, and saves. The result is the exit code.</summary>
    internal int Run(int validateEvery, int saveEvery)
    {
        int? interruption = TrainAndSave(validateEvery, saveEvery);
        if (interruption is { } code)
        {
            if (code == ExitCode.HungUp) return code; // nobody is there to read it
            _output.WriteLine($"Stopped after step {Trainer.Step}; saved {_path}. Go on with: train --resume --checkpoint {_path}");
            return code;
        }

        List<LossPoint> losses = Trainer.History.Training;
        _output.WriteLine($"Loss {losses[0].Loss:F3} -> {losses[^1].Loss:F3}, validation {Trainer.History.Validation[^1].Loss:F3} (nats a token).");
        _output.WriteLine($"Checkpoint {_path}, loss curve {CurvePath}");
        PrintSample();
        return ExitCode.Success;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Trainer.Dispose();
        _text.Dispose();
    }

    private static (Corpus Corpus, TokenizerDescription Description, ITokenizer Tokenizer) LoadText(TrainingSettings settings)
    {
        if (settings.Tokens is { } path)
        {
            (Corpus corpus, TokenManifest manifest, ITokenizer made) = Corpus.Open(path);
            return (corpus, manifest.Tokenizer, made);
        }

        ITokenizer tokenizer = settings.Tokenizer!.Load();
        return (Corpus.Load(settings.Files, tokenizer), settings.Tokenizer, tokenizer);
    }

    private int? TrainAndSave(int validateEvery, int saveEvery)
    {
        using var interruption = new Interruption();
        ExceptionDispatchInfo? lostOutput = null;
        try
        {
            TrainingDisplay.Run(
                _output, Trainer.Step, Trainer.Options.Steps, report => Train(report, interruption, validateEvery, saveEvery));
        }
        catch (IOException e)
        {
            // Nobody reads on, or nothing more can be written: reason to stop, not to lose what is learned.
            lostOutput = ExceptionDispatchInfo.Capture(e);
        }

        Save();
        LossCurveSvg.Write(CurvePath, Trainer.History, Title());
        if (interruption.ExitCode is null) lostOutput?.Throw();
        return interruption.ExitCode;
    }

    private void Train(Action<TrainingProgress> report, Interruption interruption, int validateEvery, int saveEvery)
    {
        // The curve starts with the untrained model.
        double? validation = Trainer.Step == 0 ? Trainer.Validate() : null;
        var clock = new Stopwatch();
        int firstStep = Trainer.Step;
        while (Trainer.Step < Trainer.Options.Steps && interruption.ExitCode is null)
        {
            clock.Start();
            StepResult result = Trainer.TrainStep();
            clock.Stop();

            bool isLast = Trainer.Step == Trainer.Options.Steps;
            if (isLast || Trainer.Step % validateEvery == 0) validation = Trainer.Validate();
            double tokensPerSecond = (Trainer.Step - firstStep) * Trainer.TokensPerStep / clock.Elapsed.TotalSeconds;
            report(new TrainingProgress(Trainer.Step, result, validation, tokensPerSecond));
            if (!isLast && Trainer.Step % saveEvery == 0) Save();
        }
    }

    private void Save()
    {
        Checkpoint.Save(_path, Trainer, _corpus, _attention, _keepAs);
        _keepAs = null;
    }

    private static void ProbeFiles(string path)
    {
        OwnFile.Exists(PicturePath(path), LossCurveSvg.Recognise);
        OwnFile.Probe(path);
    }

    private void PrintSample()
    {
        _output.WriteLine();
        var sampler = new TokenSampler(SampleTemperature, SampleTopK, Trainer.Options.Seed);
        foreach (string piece in TextGenerator.Continue(Trainer.Model, _tokenizer, "", SampleTokens, sampler)) _output.Write(piece);
        _output.WriteLine();
    }

    private void Describe(string origin, Corpus corpus)
    {
        GptConfig config = Trainer.Model.Config;
        TrainingOptions options = Trainer.Options;
        _output.WriteLine(
            $"Model    {origin}: {config.Layers} layers, {config.Heads} heads, width {config.Width}, context {config.Context}, " +
            $"{config.ParameterCount:N0} parameters, attention {_attention.ToString().ToLowerInvariant()}, on {Trainer.Model.Device}");
        _output.WriteLine($"Text     {corpus.Name}: {corpus.Training.Length:N0} training and {corpus.Validation.Length:N0} validation tokens");
        _output.WriteLine($"Run      {options.Steps:N0} steps of {Trainer.TokensPerStep:N0} tokens; Ctrl-C saves and stops");
    }

    private string Title() =>
        $"GPT-2 {Trainer.Model.Config.ParameterCount / 1e6:F1}M parameters, {_attention.ToString().ToLowerInvariant()} attention";
}

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
