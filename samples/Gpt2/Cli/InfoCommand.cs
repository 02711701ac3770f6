using System.CommandLine;
using TorchFlash;

namespace Gpt2.Cli;

/// <summary>The <c>info</c> verb: the model sizes, the attention engine of this machine, and what a checkpoint holds.</summary>
internal static class InfoCommand
{
    internal static Command Create()
    {
        var checkpointOption = new Option<FileInfo?>("--checkpoint") { Description = "Also describe this checkpoint.", HelpName = "FILE" };
        var command = new Command("info", "Describe the presets, the attention engine and a checkpoint.") { checkpointOption };
        command.SetAction(parsed =>
        {
            TextWriter output = parsed.InvocationConfiguration.Output;
            using Checkpoint? checkpoint = parsed.GetValue(checkpointOption) is { } file ? Checkpoint.Open(file.FullName) : null;
            output.WriteLine("Presets (parameters with GPT-2's vocabulary / with bytes):");
            foreach (Preset preset in Preset.All)
            {
                long words = preset.Config(GptConfig.Gpt2VocabularySize).ParameterCount, bytes = preset.Config(256).ParameterCount;
                output.WriteLine(
                    $"  {preset.Name,-12} {preset.Layers,2} layers  {preset.Heads,2} heads  width {preset.Width,4}  context {preset.Context,4}  {words,13:N0} / {bytes,13:N0}");
            }

            output.WriteLine();
            output.WriteLine(flash.describe());
            if (checkpoint is not null) Describe(checkpoint, output);
            return ExitCode.Success;
        });
        return command;
    }

    private static void Describe(Checkpoint checkpoint, TextWriter output)
    {
        RunState state = checkpoint.State;
        output.WriteLine();
        output.WriteLine(checkpoint.Path);
        output.WriteLine($"  {state.Config}, {state.Config.ParameterCount:N0} parameters");
        output.WriteLine($"  {UserException.OneLine(state.Corpus.Name)}, tokeniser {state.Corpus.Tokenizer.Kind}");
        output.WriteLine($"  step {state.Step} of {state.Options.Steps}, attention {state.Attention.ToString().ToLowerInvariant()}");
        if (state.History.Validation is [.., var last]) output.WriteLine($"  validation loss {last.Loss:F3} after step {last.Step}");
    }
}
