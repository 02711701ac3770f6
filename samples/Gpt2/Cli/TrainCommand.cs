using System.CommandLine;
using System.CommandLine.Parsing;
using Gpt2.Model;
using Gpt2.Text;
using Gpt2.Training;

namespace Gpt2.Cli;

/// <summary>The <c>train</c> verb: its options and what they mean together.</summary>
internal sealed class TrainCommand
{
    private readonly Option<string> _preset = new("--preset")
    {
        Description = "Size of the model.",
        DefaultValueFactory = _ => Preset.All[0].Name,
    };

    private readonly Option<string> _attention = CommonOptions.Attention();
    private readonly Option<FileInfo> _checkpoint = CommonOptions.Checkpoint();

    private readonly Option<bool> _resume = new("--resume")
    {
        Description = "Go on from the checkpoint. Only --steps, --attention and the two intervals may be given anew.",
    };

    private readonly Option<FileInfo[]> _data = new("--data")
    {
        Description = "UTF-8 text files to learn from. Default: the .NET SDK's API documentation.",
        HelpName = "FILE",
        AllowMultipleArgumentsPerToken = true,
    };

    private readonly Option<FileInfo?> _vocabulary = new("--vocab") { Description = "GPT-2's vocab.json; with --merges: byte-pair encoding. Default: one token a byte.", HelpName = "FILE" };
    private readonly Option<FileInfo?> _merges = new("--merges") { Description = "GPT-2's merges.txt.", HelpName = "FILE" };
    private readonly Option<int?> _steps = new("--steps") { Description = "Optimiser steps in all. Default: by preset." };
    private readonly Option<int?> _batchSize = new("--batch-size") { Description = "Sequences in a forward pass. Default: by preset." };
    private readonly Option<int> _accumulation = new("--accumulate") { Description = "Forward passes a step.", DefaultValueFactory = _ => 1 };
    private readonly Option<int?> _context = new("--context") { Description = "Tokens in a sequence. Default: by preset." };
    private readonly Option<double?> _learningRate = new("--learning-rate") { Description = "Peak learning rate. Default: by preset." };
    private readonly Option<int?> _warmup = new("--warmup") { Description = "Warm-up steps. Default: a tenth of --steps, at most 200." };
    private readonly Option<double> _weightDecay = new("--weight-decay") { Description = "AdamW's weight decay of matrices.", DefaultValueFactory = _ => 0.1 };
    private readonly Option<double> _clip = new("--clip") { Description = "Largest norm of the gradient; 0: no clipping.", DefaultValueFactory = _ => 1 };
    private readonly Option<double> _dropout = new("--dropout") { Description = "Dropout probability.", DefaultValueFactory = _ => 0 };
    private readonly Option<long> _seed = new("--seed") { Description = "Seed of weights, data order and dropout.", DefaultValueFactory = _ => 1337 };
    private readonly Option<int?> _validateEvery = new("--validate-every") { Description = "Steps between validations. Default: a tenth of --steps." };
    private readonly Option<int?> _saveEvery = new("--save-every") { Description = "Steps between checkpoints. Default: a tenth of --steps, at most 500." };

    private readonly Command _command = new("train", "Train a GPT-2 model, print a sample of it, and leave a checkpoint and the loss curve (SVG).");

    private TrainCommand()
    {
        _preset.AcceptOnlyFromAmong([.. Preset.All.Select(preset => preset.Name)]);
        _data.Validators.Add(CommonOptions.FilesExist);
        _vocabulary.Validators.Add(CommonOptions.FilesExist);
        _merges.Validators.Add(CommonOptions.FilesExist);
        CommonOptions.Require(_steps, value => value is null or > 0, "must be at least 1");
        CommonOptions.Require(_batchSize, value => value is null or > 0, "must be at least 1");
        CommonOptions.Require(_accumulation, value => value > 0, "must be at least 1");
        CommonOptions.Require(_context, value => value is null or > 0, "must be at least 1");
        CommonOptions.Require(_learningRate, value => value is null or (> 0 and < double.PositiveInfinity), "must be greater than 0");
        CommonOptions.Require(_warmup, value => value is null or >= 0, "must be at least 0");
        CommonOptions.Require(_weightDecay, value => value is >= 0 and < double.PositiveInfinity, "must be at least 0");
        CommonOptions.Require(_clip, value => value is >= 0 and < double.PositiveInfinity, "must be at least 0");
        CommonOptions.Require(_dropout, value => value is >= 0 and < 1, "must be at least 0 and less than 1");
        CommonOptions.Require(_validateEvery, value => value is null or > 0, "must be at least 1");
        CommonOptions.Require(_saveEvery, value => value is null or > 0, "must be at least 1");

        foreach (Option option in AllOptions()) _command.Add(option);
        _command.Validators.Add(CheckTogether);
        _command.SetAction(Run);
    }

    internal static Command Create() => new TrainCommand()._command;

    private IEnumerable<Option> AllOptions() =>
    [
        _preset, _attention, _checkpoint, _resume, _data, _vocabulary, _merges, _steps, _batchSize, _accumulation, _context,
        _learningRate, _warmup, _weightDecay, _clip, _dropout, _seed, _validateEvery, _saveEvery,
    ];

    private void CheckTogether(CommandResult result)
    {
        bool Given(Option option) => result.GetResult(option) is { Implicit: false };

        if (Given(_vocabulary) != Given(_merges)) result.AddError("--vocab and --merges belong together: give both or neither.");
        if (!Given(_resume)) return;
        Option[] allowed = [_resume, _checkpoint, _steps, _attention, _validateEvery, _saveEvery];
        foreach (Option option in AllOptions().Except(allowed).Where(Given))
            result.AddError($"{option.Name} cannot be given with --resume: the checkpoint says it.");
    }

    private int Run(ParseResult parsed)
    {
        string path = parsed.GetRequiredValue(_checkpoint).FullName;
        AttentionKind? attention = parsed.GetResult(_attention) is { Implicit: false } ? CommonOptions.ParseAttention(parsed, _attention) : null;
        using TrainingSession session = parsed.GetValue(_resume)
            ? TrainingSession.Resume(path, parsed.GetValue(_steps), attention)
            : TrainingSession.Start(path, Settings(parsed), attention ?? AttentionKind.Flash);

        int tenth = Math.Max(1, session.Trainer.Options.Steps / 10);
        return session.Run(parsed.GetValue(_validateEvery) ?? tenth, parsed.GetValue(_saveEvery) ?? Math.Min(tenth, 500));
    }

    private TrainingSettings Settings(ParseResult parsed)
    {
        Preset preset = Preset.Named(parsed.GetRequiredValue(_preset));
        int steps = parsed.GetValue(_steps) ?? preset.Steps;
        var options = new TrainingOptions
        {
            Steps = steps,
            BatchSize = parsed.GetValue(_batchSize) ?? preset.BatchSize,
            Accumulation = parsed.GetValue(_accumulation),
            LearningRate = parsed.GetValue(_learningRate) ?? preset.LearningRate,
            WarmupSteps = parsed.GetValue(_warmup) ?? Math.Min(steps / 10, 200),
            WeightDecay = parsed.GetValue(_weightDecay),
            GradientClip = parsed.GetValue(_clip),
            Seed = parsed.GetValue(_seed),
        };
        TokenizerDescription tokenizer = parsed.GetValue(_vocabulary) is { } vocabulary && parsed.GetValue(_merges) is { } merges
            ? new TokenizerDescription(BytePairTokenizer.Kind, vocabulary.FullName, merges.FullName)
            : new TokenizerDescription(ByteTokenizer.Kind);
        string[] files = [.. (parsed.GetValue(_data) ?? []).Select(file => file.FullName)];
        return new TrainingSettings(
            preset, parsed.GetValue(_context) ?? preset.Context, parsed.GetValue(_dropout), options, files, tokenizer);
    }
}
