using System.Diagnostics;
using System.Runtime.ExceptionServices;
using Gpt2.Files;
using Gpt2.Generation;
using Gpt2.Model;
using Gpt2.Reporting;
using Gpt2.Text;
using Gpt2.Training;
using TorchSharp;

namespace Gpt2.Cli;

/// <summary>What the command line asks of a new run.</summary>
internal sealed record TrainingSettings(
    Preset Preset, int Context, double Dropout, TrainingOptions Options, string[] Files, TokenizerDescription Tokenizer);

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

    // Where the checkpoint of an earlier run goes with the first save.
    private string? _keepAs;

    private TrainingSession(
        TextWriter output, string path, Trainer trainer, AttentionKind attention, ITokenizer tokenizer, CorpusDescription corpus)
    {
        (_output, _path, Trainer, _attention, _tokenizer, _corpus) = (output, path, trainer, attention, tokenizer, corpus);
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
        ITokenizer tokenizer = settings.Tokenizer.Load();
        Corpus corpus = Corpus.Load(settings.Files, tokenizer);
        GptConfig config = settings.Preset.Config(tokenizer.VocabularySize) with { Context = settings.Context, Dropout = settings.Dropout };
        var trainer = new Trainer(config, settings.Options, corpus, attention, device);
        var description = new CorpusDescription(settings.Files, corpus.Name, corpus.Fingerprint, settings.Tokenizer);
        var session = new TrainingSession(output, path, trainer, attention, tokenizer, description);
        session.Describe(settings.Preset.Name, corpus);
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
        Corpus corpus = Corpus.Load(state.Corpus.Files, tokenizer);
        Trainer trainer = checkpoint.Resume(corpus, options, kind, device);
        var session = new TrainingSession(output, path, trainer, kind, tokenizer, state.Corpus);
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
    public void Dispose() => Trainer.Dispose();

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
