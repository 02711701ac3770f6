using System.CommandLine;
using System.CommandLine.Parsing;
using Gpt2.Model;

namespace Gpt2.Cli;

/// <summary>Options that several verbs share, and checks whose messages name the option.</summary>
internal static class CommonOptions
{
    internal static Option<string> Attention()
    {
        var option = new Option<string>("--attention")
        {
            Description = "flash: TorchFlash; sdpa: libtorch's own; naive: matmul, softmax, matmul.",
            DefaultValueFactory = _ => nameof(AttentionKind.Flash).ToLowerInvariant(),
        };
        option.AcceptOnlyFromAmong([.. Enum.GetNames<AttentionKind>().Select(name => name.ToLowerInvariant())]);
        return option;
    }

    internal static AttentionKind ParseAttention(ParseResult parsed, Option<string> option) =>
        Enum.Parse<AttentionKind>(parsed.GetRequiredValue(option), ignoreCase: true);

    internal static Option<FileInfo> Checkpoint() => new("--checkpoint")
    {
        Description = "File of the model and of the state of its training.",
        HelpName = "FILE",
        DefaultValueFactory = _ => new FileInfo(Path.Combine("artifacts", "gpt2.safetensors")),
    };

    internal static void Require<T>(Option<T> option, Func<T?, bool> isValid, string requirement) =>
        option.Validators.Add(result =>
        {
            // A value that could not be parsed has an error already.
            if (result.Errors.Any() || result.Implicit) return;
            T? value = result.GetValueOrDefault<T>();
            if (!result.Errors.Any() && !isValid(value)) result.AddError($"{option.Name} {requirement}, but is {value}.");
        });

    internal static void FilesExist(OptionResult result)
    {
        foreach (Token token in result.Tokens.Where(token => !File.Exists(token.Value)))
            result.AddError($"{result.Option.Name}: there is no file '{token.Value}'.");
    }
}
