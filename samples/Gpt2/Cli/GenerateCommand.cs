using System.CommandLine;
using Gpt2.Generation;
using Gpt2.Model;
using Gpt2.Text;
using Gpt2.Training;

namespace Gpt2.Cli;

/// <summary>The <c>generate</c> verb: continues a text with a trained model.</summary>
internal static class GenerateCommand
{
    internal static Command Create()
    {
        Option<FileInfo> checkpointOption = CommonOptions.Checkpoint();
        Option<string> attention = CommonOptions.Attention();
        var prompt = new Option<string>("--prompt") { Description = "Text to continue. Default: the start of a document.", DefaultValueFactory = _ => "" };
        var count = new Option<int>("--tokens") { Description = "Tokens to write.", DefaultValueFactory = _ => 400 };
        var temperature = new Option<double>("--temperature") { Description = "Below 1: more predictable; 0: always the most probable token.", DefaultValueFactory = _ => 0.8 };
        var topK = new Option<int>("--top-k") { Description = "Draw only from the k most probable tokens; 0: from all.", DefaultValueFactory = _ => 50 };
        var seed = new Option<long>("--seed") { Description = "Equal seeds write equal texts.", DefaultValueFactory = _ => 1337 };
        CommonOptions.Require(count, value => value > 0, "must be at least 1");
        CommonOptions.Require(temperature, value => value is >= 0 and < double.PositiveInfinity, "must be at least 0");
        CommonOptions.Require(topK, value => value >= 0, "must be at least 0");

        var command = new Command("generate", "Continue a text with a trained model.") { checkpointOption, attention, prompt, count, temperature, topK, seed };
        command.SetAction(parsed =>
        {
            using Checkpoint checkpoint = Checkpoint.Open(parsed.GetRequiredValue(checkpointOption).FullName);
            ITokenizer tokenizer = checkpoint.State.Corpus.Tokenizer.Load();
            using GptModel model = checkpoint.LoadModel(CommonOptions.ParseAttention(parsed, attention));

            string text = parsed.GetRequiredValue(prompt);
            var sampler = new TokenSampler(parsed.GetValue(temperature), parsed.GetValue(topK), parsed.GetValue(seed));
            Console.Write(text);
            foreach (string piece in TextGenerator.Continue(model, tokenizer, text, parsed.GetValue(count), sampler)) Console.Write(piece);
            Console.WriteLine();
            return ExitCode.Success;
        });
        return command;
    }
}
