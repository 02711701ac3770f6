using System.CommandLine;
using System.CommandLine.Parsing;
using Gpt2.Model;
using Gpt2.Text;
using Gpt2.Training;
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

    private readonly Option<FileInfo[]> _data = new("--data")
    {
        Description = "UTF-8 text files to learn from. Default: the .NET SDK's API documentation.",
        HelpName = "FILE",
        AllowMultipleArgumentsPerToken = true,
    };

    private readonly Option<FileInfo?> _vocabulary = new("--vocab") { Description = "GPT-2's vocab.json; with --merges: byte-pair encoding. Default: one token a byte.", HelpName = "FILE" };
    private readonly Option<FileInfo?> _merges = new("--merges") { Description = "GPT-2's merges.txt.", HelpName = "FILE" };
    private readonly Option<int?> _steps = Count("--steps", "Optimiser steps in all. Default: by preset.");
    private readonly Option<int?> _batchSize = Count("--batch-size", "Sequences in a forward pass. Default: by preset.");
    private readonly Option<int?> _accumulation = Count("--accumulate", "Forward passes a step.", 1);
    private readonly Option<int?> _context = Count("--context", "Tokens in a sequence. Default: by preset.");
    private readonly Option<double?> _learningRate = CommonOptions.Number<double>(
        "--learning-rate", "Peak learning rate. Default: by preset.", "a number greater than 0, at most 1e6", x => x is > 0 and <= TrainingOptions.Maximum);

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
        _data.Validators.Add(CommonOptions.FilesExist);
        _vocabulary.Validators.Add(CommonOptions.FilesExist);
        _merges.Validators.Add(CommonOptions.FilesExist);

        foreach (Option option in AllOptions()) _command.Add(option);
        _command.Validators.Add(CheckTogether);
        _command.SetAction(Run);
    }

    private static Option<int?> Count(string name, string description, int? defaultValue = null) =>
        CommonOptions.Number(name, description, "a whole number, at least 1", x => x > 0, defaultValue);

    internal static Command Create() => new TrainCommand()._command;

    private IEnumerable<Option> AllOptions() =>
    [
        _preset, _attention, _checkpoint, _threads, _device, _resume, _data, _vocabulary, _merges, _steps, _batchSize, _accumulation, _context,
        _learningRate, _warmup, _weightDecay, _clip, _dropout, _seed, _validateEvery, _saveEvery,
    ];

    private void CheckTogether(CommandResult result)
    {
        bool Given(Option option) => result.GetResult(option) is { Implicit: false };

        if (Given(_vocabulary) != Given(_merges)) result.AddError("--vocab and --merges belong together: give both or neither.");
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
        foreach (FileInfo? read in (FileInfo?[])[.. parsed.GetValue(_data) ?? [], parsed.GetValue(_vocabulary), parsed.GetValue(_merges)])
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
            : TrainingSession.Start(output, path, Settings(parsed), attention ?? AttentionKind.Flash, device);

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
            Accumulation = parsed.GetValue(_accumulation)!.Value,
            LearningRate = parsed.GetValue(_learningRate) ?? preset.LearningRate,
            WarmupSteps = parsed.GetValue(_warmup) ?? Math.Min(steps, Math.Clamp(steps / 10, 20, 200)),
            WeightDecay = parsed.GetValue(_weightDecay)!.Value,
            GradientClip = parsed.GetValue(_clip)!.Value,
            Seed = parsed.GetValue(_seed)!.Value,
        };
        TokenizerDescription tokenizer = parsed.GetValue(_vocabulary) is { } vocabulary && parsed.GetValue(_merges) is { } merges
            ? new TokenizerDescription(BytePairTokenizer.Kind, vocabulary.FullName, merges.FullName)
            : new TokenizerDescription(ByteTokenizer.Kind);
        string[] files = [.. (parsed.GetValue(_data) ?? []).Select(file => file.FullName)];
        return new TrainingSettings(
            preset, parsed.GetValue(_context) ?? preset.Context, parsed.GetValue(_dropout)!.Value, options, files, tokenizer);
    }
}
