using System.CommandLine;
using Gpt2.Text;
using TorchSharp;

namespace Gpt2.Cli;

/// <summary>The <c>generate</c> verb: continues a text with a trained model.</summary>
internal static class GenerateCommand
{
    internal static Command Create()
    {
        Option<FileInfo> checkpointOption = CommonOptions.Checkpoint();
        Option<string> attention = CommonOptions.Attention();
        Option<int?> threads = CommonOptions.Threads();
        Option<string> device = CommonOptions.Device();
        var prompt = new Option<string>("--prompt") { Description = "Text to continue. Default: the start of a document.", DefaultValueFactory = _ => "" };
        Option<int?> count = CommonOptions.Number<int>("--tokens", "Tokens to write.", "a whole number, at least 1", x => x > 0, 400);
        Option<double?> temperature = CommonOptions.Number<double>(
            "--temperature", "Below 1: more predictable; 0: always the most probable token.", "a number, at least 0", x => x is >= 0 and < double.PositiveInfinity, 0.8);
        Option<int?> topK = CommonOptions.Number<int>(
            "--top-k", "Draw only from the k most probable tokens; 0: from all.", "a whole number, at least 0", x => x >= 0, 50);
        Option<long?> seed = CommonOptions.Number<long>("--seed", "Equal seeds write equal texts.", "a whole number", _ => true, 1337L);

        var command = new Command("generate", "Continue a text with a trained model.") { checkpointOption, attention, threads, device, prompt, count, temperature, topK, seed };
        command.SetAction(parsed =>
        {
            CommonOptions.ApplyThreads(parsed.GetValue(threads));
            TextWriter output = parsed.InvocationConfiguration.Output;
            using Checkpoint checkpoint = Checkpoint.Open(parsed.GetRequiredValue(checkpointOption).FullName);
            ITokenizer tokenizer = checkpoint.LoadTokenizer();
            using GptModel model = checkpoint.LoadModel(CommonOptions.ParseAttention(parsed, attention));
            model.to(CommonOptions.ParseDevice(parsed, device));

            string text = parsed.GetRequiredValue(prompt);
            var sampler = new TokenSampler(parsed.GetValue(temperature)!.Value, parsed.GetValue(topK)!.Value, parsed.GetValue(seed)!.Value);
            output.Write(text);
            foreach (string piece in TextGenerator.Continue(model, tokenizer, text, parsed.GetValue(count)!.Value, sampler)) output.Write(piece);
            output.WriteLine();
            return ExitCode.Success;
        });
        return command;
    }
}
