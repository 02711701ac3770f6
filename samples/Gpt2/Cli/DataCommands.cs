using System.CommandLine;
using System.Diagnostics;
using Gpt2.Text;

namespace Gpt2.Cli;

/// <summary>The <c>tokenizer</c> verb: learns a vocabulary.</summary>
internal static class TokenizerCommand
{
    internal static Command Create()
    {
        Option<FileInfo[]> data = CommonOptions.Data("UTF-8 text files to learn from. Default: the .NET SDK's API documentation.");
        Option<int?> size = CommonOptions.Number<int>("--size", "Tokens, with the 256 bytes and the end of text.", "a whole number, 257 to 65536", x => x is >= 257 and <= 65536, 8192);
        var folder = new Option<DirectoryInfo>("--output") { Description = "Folder for vocab.json and merges.txt.", HelpName = "FOLDER", Required = true };
        var train = new Command("train", "Learn a byte-pair vocabulary from a text, in the files of GPT-2's.") { data, size, folder };
        train.SetAction(parsed =>
        {
            const string What = "--output";
            string path = parsed.GetRequiredValue(folder).FullName;
            string vocabulary = Path.Combine(path, Weights.VocabularyName), merges = Path.Combine(path, Weights.MergesName);
            OwnFile.Exists(vocabulary, Refuse, What);
            OwnFile.Exists(merges, Refuse, What);
            var training = new BytePairTraining();
            foreach (byte[] document in Corpus.Documents([.. (parsed.GetValue(data) ?? []).Select(file => file.FullName)]).Texts) training.Add(document);
            BytePairTokenizer tokenizer = training.Learn(parsed.GetValue(size)!.Value);
            OwnFile.Write(vocabulary, Refuse, tokenizer.WriteVocabulary, what: What);
            OwnFile.Write(merges, Refuse, tokenizer.WriteMerges, what: What);
            parsed.InvocationConfiguration.Output.WriteLine($"{tokenizer.VocabularySize:N0} tokens in {path}");
            return ExitCode.Success;

            static void Refuse(string path) => throw new UserException($"{What}: {path} exists.");
        });
        return new Command("tokenizer", "Vocabularies of byte-pair encoding, and texts as tokens.") { train, Encode() };
    }

    private static Command Encode()
    {
        Option<FileInfo[]> data = CommonOptions.Data("UTF-8 text files; <|endoftext|> in them parts documents. Default: the .NET SDK's API documentation.");
        Option<FileInfo?> vocabulary = CommonOptions.Vocabulary(), merges = CommonOptions.Merges();
        var output = new Option<FileInfo>("--output") { Description = "File of tokens, for train --tokens.", HelpName = "FILE", Required = true };
        var encode = new Command("encode", "Make a text into tokens once; every twentieth document is for validation.") { data, vocabulary, merges, output };
        encode.Validators.Add(result =>
        {
            if ((result.GetValue(vocabulary) is null) != (result.GetValue(merges) is null)) result.AddError("--vocab and --merges belong together: give both or neither.");
        });
        encode.SetAction(parsed =>
        {
            TokenizerDescription tokenizer = parsed.GetValue(vocabulary) is { } v && parsed.GetValue(merges) is { } m
                ? new TokenizerDescription(BytePairTokenizer.Kind, v.FullName, m.FullName)
                : new TokenizerDescription(ByteTokenizer.Kind);
            string path = parsed.GetRequiredValue(output).FullName;
            FileInfo[] files = parsed.GetValue(data) ?? [];
            if (Array.Exists(files, file => file.FullName == path)) throw new UserException($"--output: {path} would take the place of the text.");
            long start = Stopwatch.GetTimestamp();
            TokenManifest made = Corpus.Encode(path, [.. files.Select(file => file.FullName)], tokenizer);
            using Corpus corpus = Corpus.Open(path).Corpus;
            parsed.InvocationConfiguration.Output.WriteLine(
                $"{made.Name}: {made.Bytes:N0} bytes, {made.Documents:N0} documents ({made.ValidationDocuments:N0} for validation), " +
                $"{corpus.Training.Length:N0} training and {corpus.Validation.Length:N0} validation tokens in {path}");
            parsed.InvocationConfiguration.Error.WriteLine($"{made.Bytes / 1e6 / Stopwatch.GetElapsedTime(start).TotalSeconds:F1} MB/s, with reading and writing");
            return ExitCode.Success;
        });
        return encode;
    }
}
