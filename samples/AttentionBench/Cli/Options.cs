using System.CommandLine;
using System.Globalization;
using Gpt2.Cli;
using TorchFlash.Kernels;

namespace AttentionBench.Cli;

/// <summary>Options that several verbs share. What does not fit is refused in a line that names the option.</summary>
internal static class Options
{
    /// <summary>Longer sequences and wider heads than these are typing errors.</summary>
    private const int Largest = 1 << 22;

    /// <summary>Threads of libtorch and of flash: libtorch's own default differs between builds and machines.</summary>
    public static Option<int?> Threads { get; } = CommonOptions.Threads();

    public static Option<FileInfo?> Json { get; } = new("--json") { Description = "Also write machine, settings and tables to this file.", HelpName = "FILE" };

    public static Option<FileInfo?> Csv { get; } = new("--csv") { Description = "Also write the tables to this file.", HelpName = "FILE" };

    public static Option<DirectoryInfo?> Svg { get; } = new("--svg") { Description = "Also draw the results into this folder, for light and dark backgrounds.", HelpName = "FOLDER" };

    public static Option<int?> Whole(string name, string description, int value, int least = 1, int most = Largest) =>
        CommonOptions.Number<int>(name, description, $"a whole number, {least} to {most}", x => x >= least && x <= most, value);

    public static Option<int?> WholeOrNone(string name, string description, int least = 1, int most = Largest) =>
        CommonOptions.Number<int>(name, description, $"a whole number, {least} to {most}", x => x >= least && x <= most);

    public static Option<double?> Real(string name, string description, double value, double least, double most) =>
        CommonOptions.Number<double>(name, description, string.Create(CultureInfo.InvariantCulture, $"a number, {least} to {most}"), x => x >= least && x <= most, value);

    public static Option<string> Choice(string name, string description, params string[] words) => CommonOptions.Choice(name, description, words);

    /// <summary>Several whole numbers, parted by spaces.</summary>
    public static Option<int[]> Wholes(string name, string description, int[] values, int least = 1, int most = Largest) => new(name)
    {
        Description = description,
        HelpName = "N ...",
        AllowMultipleArgumentsPerToken = true,
        DefaultValueFactory = _ => values,
        CustomParser = result =>
        {
            var numbers = new List<int>();
            foreach (string text in result.Tokens.Select(t => t.Value))
            {
                if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number >= least && number <= most)
                    numbers.Add(number);
                else
                    result.AddError($"{name} must be whole numbers, {least} to {most}, but is {text}.");
            }
            return [.. numbers];
        },
    };

    /// <summary>Several of the words, parted by spaces; all of <paramref name="values"/> by default.</summary>
    public static Option<string[]> Choices(string name, string description, string[] words, string[] values)
    {
        var option = new Option<string[]>(name)
        {
            Description = description,
            HelpName = string.Join('|', words) + " ...",
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => values,
        };
        option.Validators.Add(result =>
        {
            foreach (string text in result.Tokens.Select(t => t.Value).Where(text => !words.Contains(text)))
                result.AddError($"{name} must be of {string.Join(", ", words)}, but is {text}.");
        });
        return option;
    }

    /// <summary>full, causal or both of them.</summary>
    public static Option<string> Causal() => Choice("--causal", "Without a causal mask, with one, or one after the other.", "both", "full", "causal");

    public static bool[] Masks(ParseResult parsed, Option<string> causal) => parsed.GetValue(causal) switch
    {
        "full" => [false],
        "causal" => [true],
        _ => [false, true],
    };

    public static Option<string> Type(params ElementType[] types) => Choice("--type", "Element type.", [.. types.Select(Name)]);

    public static ElementType Type(ParseResult parsed, Option<string> option) => Enum.Parse<ElementType>(parsed.GetValue(option)!, ignoreCase: true);

    public static string Name(ElementType type) => type.ToString().ToLowerInvariant();
}
