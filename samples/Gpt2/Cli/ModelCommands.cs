using System.CommandLine;
using System.Diagnostics;
using Gpt2.Text;
using static TorchSharp.torch;

namespace Gpt2.Cli;

/// <summary>The <c>generate</c> verb: continues texts with a trained model.</summary>
internal static class GenerateCommand
{
    internal static Command Create()
    {
        var prompt = new Option<string[]>("--prompt")
        {
            Description = "Text to continue; given more than once, a batch of texts. Default: the start of a document.",
            HelpName = "TEXT",
            DefaultValueFactory = _ => [""],
        };
        Option<int?> count = CommonOptions.Number<int>("--tokens", "Tokens to write.", "a whole number, at least 1", x => x > 0, 400);
        Option<double?> temperature = CommonOptions.Number<double>(
            "--temperature", "Below 1: more predictable; 0: always the most probable token.", "a number, at least 0", x => x is >= 0 and < double.PositiveInfinity, 0.8);
        Option<int?> topK = CommonOptions.Number<int>(
            "--top-k", "Draw only from the k most probable tokens; 0: from all.", "a whole number, at least 0", x => x >= 0, 50);
        Option<double?> topP = CommonOptions.Number<double>(
            "--top-p", "Draw only from the most probable tokens that together have this probability; 1: from all.", "a number above 0, at most 1", x => x is > 0 and <= 1, 1.0);
        Option<long?> seed = CommonOptions.Number<long>("--seed", "Equal seeds write equal texts.", "a whole number", _ => true, 1337L);

        var command = new Command("generate", "Continue texts with a trained model. Says on standard error how fast it was.")
        {
            prompt, count, temperature, topK, topP, seed,
        };
        var modelOptions = new ModelOptions(command);
        command.SetAction(parsed =>
        {
            TextWriter output = parsed.InvocationConfiguration.Output;
            (GptModel model, ITokenizer tokenizer, _) = modelOptions.Load(parsed);
            using GptModel disposed = model;
            string[] prompts = parsed.GetRequiredValue(prompt);
            int tokens = parsed.GetValue(count)!.Value;
            TokenSampler[] samplers =
            [
                .. prompts.Select((_, i) => new TokenSampler(
                    parsed.GetValue(temperature)!.Value, parsed.GetValue(topK)!.Value, parsed.GetValue(seed)!.Value + i, parsed.GetValue(topP)!.Value)),
            ];
            long start = Stopwatch.GetTimestamp();
            Write(output, prompts, TextGenerator.Continue(model, tokenizer, prompts, tokens, samplers));
            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            long written = (long)tokens * prompts.Length;
            parsed.InvocationConfiguration.Error.WriteLine($"{written} tokens in {seconds:F2} s: {written / seconds:F1} tokens/s");
            return ExitCode.Success;
        });
        return command;
    }

    // One text is written as it comes; several, which come together, one after the other in the end.
    private static void Write(TextWriter output, string[] prompts, IEnumerable<(int Prompt, string Text)> pieces)
    {
        if (prompts.Length == 1)
        {
            output.Write(prompts[0]);
            foreach ((_, string text) in pieces) output.Write(text);
            output.WriteLine();
            return;
        }

        ILookup<int, string> continuations = pieces.ToLookup(piece => piece.Prompt, piece => piece.Text);
        for (int i = 0; i < prompts.Length; i++) output.WriteLine($"[{i + 1}] {prompts[i]}{string.Concat(continuations[i])}");
    }
}

/// <summary>The <c>export</c> verb: writes a model as Hugging Face's <c>transformers</c> reads it.</summary>
internal static class ExportCommand
{
    internal static Command Create()
    {
        var folder = new Option<DirectoryInfo>("--output") { Description = "Folder for config.json, model.safetensors and the tokeniser's files.", HelpName = "FOLDER", Required = true };
        Option<string> type = CommonOptions.Choice("--type", "Element type of the weights.", ["fp32", "bf16", "fp16"]);
        var command = new Command("export", "Write a model for Hugging Face's transformers: GPT2LMHeadModel.from_pretrained(FOLDER).") { folder, type };
        var modelOptions = new ModelOptions(command);
        command.SetAction(parsed =>
        {
            (GptModel model, ITokenizer tokenizer, _) = modelOptions.Load(parsed);
            using GptModel disposed = model;
            ScalarType elements = parsed.GetRequiredValue(type) switch { "bf16" => ScalarType.BFloat16, "fp16" => ScalarType.Float16, _ => ScalarType.Float32 };
            string path = parsed.GetRequiredValue(folder).FullName;
            Weights.Write(path, model, elements, tokenizer as BytePairTokenizer);
            parsed.InvocationConfiguration.Output.WriteLine($"{model.Config.ParameterCount:N0} parameters in {Path.Combine(path, Weights.ModelName)}");
            return ExitCode.Success;
        });
        return command;
    }
}

/// <summary>The <c>evaluate</c> verb: how well a model predicts a text.</summary>
internal static class EvaluateCommand
{
    internal static Command Create()
    {
        Option<FileInfo[]> data = CommonOptions.Data("UTF-8 text files, evaluated as a whole. Default: the validation part of what the checkpoint was trained on.");
        Option<int?> stride = CommonOptions.Number<int>("--stride", "Tokens from one window to the next. Default: half the context.", "a whole number, at least 1", x => x > 0);
        var command = new Command("evaluate", "Perplexity of a text, in sliding windows.") { data, stride };
        var modelOptions = new ModelOptions(command);
        command.SetAction(parsed =>
        {
            (GptModel model, ITokenizer tokenizer, RunState? state) = modelOptions.Load(parsed);
            using GptModel disposed = model;
            FileInfo[] files = parsed.GetValue(data) ?? [];
            if (files.Length == 0 && state is null) throw new UserException("--data: name text files; weights do not say what they were trained on.");
            using Corpus? corpus = files.Length == 0 ? state!.Corpus.Load(tokenizer) : null;
            TokenSequence tokens = corpus?.Validation ?? Whole(files, tokenizer);
            int step = parsed.GetValue(stride) ?? Math.Max(1, model.Config.Context / 2);
            if (step > model.Config.Context) throw new UserException($"--stride {step} is more than the context, {model.Config.Context}.");
            if (tokens.Length < 2) throw new UserException("--data: there are no two tokens.");

            long start = Stopwatch.GetTimestamp();
            Evaluation result = Evaluation.Of(model, tokens, step);
            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            parsed.InvocationConfiguration.Output.WriteLine($"perplexity {result.Perplexity:F4}, loss {result.Loss:F6} nats a token, {result.Tokens:N0} tokens");
            parsed.InvocationConfiguration.Error.WriteLine($"{result.Tokens / seconds:F0} tokens/s");
            return ExitCode.Success;
        });
        return command;
    }

    private static TokenSequence Whole(FileInfo[] files, ITokenizer tokenizer)
    {
        IEnumerable<int> tokens = Corpus.Documents([.. files.Select(file => file.FullName)]).Texts
            .SelectMany(text => tokenizer.EndOfText is { } end ? tokenizer.Encode(text).Append(end) : tokenizer.Encode(text));
        return new TokenSequence([.. tokens.Select(token => checked((ushort)token))]);
    }
}
