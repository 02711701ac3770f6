using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Numerics;
using Gpt2.Text;
using TorchSharp;

namespace Gpt2.Cli;

/// <summary>Options that several verbs share, and kinds of options whose messages name the option.</summary>
internal static class CommonOptions
{
    // More would only wait for each other; OpenMP ends the process when it cannot have as many as it is told to.
    private static readonly int MaximumThreads = Math.Max(64, 4 * Environment.ProcessorCount);

    internal static Option<string> Attention() => Choice(
        "--attention",
        "flash: TorchFlash; sdpa: libtorch's own; naive: matmul, softmax, matmul.",
        [.. Enum.GetNames<AttentionKind>().Select(name => name.ToLowerInvariant())]);

    internal static AttentionKind ParseAttention(ParseResult parsed, Option<string> option) =>
        Enum.Parse<AttentionKind>(parsed.GetRequiredValue(option), ignoreCase: true);

    internal static Option<FileInfo> Checkpoint() => new("--checkpoint")
    {
        Description = "File of the model and of the state of its training.",
        HelpName = "FILE",
        DefaultValueFactory = _ => new FileInfo(Path.Combine("artifacts", "gpt2.safetensors")),
    };

    internal static Option<string?> Weights() => new("--weights")
    {
        Description = "Published weights: a folder with config.json and model.safetensors (or its shards and their index) as Hugging Face has them, or the file in it.",
        HelpName = "PATH",
    };

    internal static Option<FileInfo?> Vocabulary() => ExistingFile("--vocab", "GPT-2's vocab.json; with --merges: byte-pair encoding. Default: with --weights what lies beside them, else one token a byte.");

    internal static Option<FileInfo?> Merges() => ExistingFile("--merges", "GPT-2's merges.txt.");

    /// <summary>The tokeniser that the user names, or else the one beside the weights.</summary>
    internal static TokenizerDescription WeightsTokenizer(Weights weights, FileInfo? vocabulary, FileInfo? merges) =>
        vocabulary is not null && merges is not null ? new TokenizerDescription(BytePairTokenizer.Kind, vocabulary.FullName, merges.FullName) : weights.Tokenizer();

    /// <summary>
    /// Threads of libtorch and of the attention. libtorch's own default counts physical cores as the machine reports them, which
    /// neither a virtual machine nor a container's share has to be.
    /// </summary>
    internal static Option<int?> Threads() => Number<int>(
        "--threads", "Threads to compute with. Default: OMP_NUM_THREADS, else the processors this process may use.",
        $"a whole number, 1 to {MaximumThreads}", x => x > 0 && x <= MaximumThreads);

    internal static void ApplyThreads(int? threads)
    {
        bool isChosenOutside = Environment.GetEnvironmentVariable("OMP_NUM_THREADS") is { Length: > 0 };
        if (threads is null && isChosenOutside)
        {
            if (torch.get_num_threads() > MaximumThreads) throw new UserException($"OMP_NUM_THREADS: {torch.get_num_threads()} threads; at most {MaximumThreads} are of use.");
            return;
        }

        torch.set_num_threads(threads ?? Environment.ProcessorCount);
    }

    internal static Option<string> Device()
    {
        var option = new Option<string>("--device")
        {
            Description = "cpu, or a GPU: cuda, cuda:1.",
            HelpName = "cpu|cuda",
            DefaultValueFactory = _ => "cpu",
        };
        option.Validators.Add(result =>
        {
            foreach (Token token in result.Tokens.Where(token => !IsDevice(token.Value)))
                result.AddError($"--device must be cpu, cuda or cuda:N, but is {token.Value}.");
        });
        return option;

        static bool IsDevice(string text) =>
            text is "cpu" or "cuda" || (text.StartsWith("cuda:", StringComparison.Ordinal) && int.TryParse(text.AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture, out _));
    }

    /// <exception cref="UserException">This machine has no such device.</exception>
    internal static torch.Device ParseDevice(ParseResult parsed, Option<string> option)
    {
        string text = parsed.GetRequiredValue(option);
        if (text == "cpu") return torch.CPU;
        int index = text == "cuda" ? 0 : int.Parse(text.AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture), count = torch.cuda.device_count();
        return index < count
            ? torch.device(DeviceType.CUDA, index)
            : throw new UserException($"--device {text}: libtorch {torch.__version__} sees {(count == 0 ? "no CUDA device" : $"only {count} CUDA devices")}.");
    }

    /// <summary>One of the given words; the first one is the default.</summary>
    internal static Option<string> Choice(string name, string description, string[] words)
    {
        var option = new Option<string>(name)
        {
            Description = description,
            HelpName = string.Join('|', words),
            DefaultValueFactory = _ => words[0],
        };
        option.Validators.Add(result =>
        {
            foreach (Token token in result.Tokens.Where(token => !words.Contains(token.Value)))
                result.AddError($"{name} must be one of {string.Join(", ", words)}, but is {token.Value}.");
        });
        return option;
    }

    /// <summary>A number with a condition, for example "at least 1".</summary>
    internal static Option<T?> Number<T>(string name, string description, string condition, Func<T, bool> isValid, T? defaultValue = null)
        where T : struct, INumber<T>
    {
        var option = new Option<T?>(name)
        {
            Description = description,
            HelpName = typeof(T) == typeof(double) ? "X" : "N",
            CustomParser = result =>
            {
                string text = result.Tokens[0].Value;
                if (T.TryParse(text, CultureInfo.InvariantCulture, out T value) && isValid(value)) return value;
                result.AddError($"{name} must be {condition}, but is {text}.");
                return null;
            },
        };
        if (defaultValue is { } number) option.DefaultValueFactory = _ => number;
        return option;
    }

    internal static Option<FileInfo[]> Data(string description)
    {
        var option = new Option<FileInfo[]>("--data") { Description = description, HelpName = "FILE", AllowMultipleArgumentsPerToken = true };
        option.Validators.Add(FilesExist);
        return option;
    }

    internal static Option<FileInfo?> ExistingFile(string name, string description)
    {
        var option = new Option<FileInfo?>(name) { Description = description, HelpName = "FILE" };
        option.Validators.Add(FilesExist);
        return option;
    }

    private static void FilesExist(OptionResult result)
    {
        foreach (Token token in result.Tokens.Where(token => !File.Exists(token.Value)))
            result.AddError($"{result.Option.Name}: there is no file '{token.Value}'.");
    }
}

/// <summary>The options of a verb that takes a trained model: where it comes from, and what it runs on.</summary>
internal sealed class ModelOptions
{
    private readonly Option<FileInfo> _checkpoint = CommonOptions.Checkpoint();
    private readonly Option<string?> _weights = CommonOptions.Weights();
    private readonly Option<FileInfo?> _vocabulary = CommonOptions.Vocabulary();
    private readonly Option<FileInfo?> _merges = CommonOptions.Merges();
    private readonly Option<string> _attention = CommonOptions.Attention();
    private readonly Option<int?> _threads = CommonOptions.Threads();
    private readonly Option<string> _device = CommonOptions.Device();

    internal ModelOptions(Command command)
    {
        foreach (Option option in (Option[])[_checkpoint, _weights, _vocabulary, _merges, _attention, _threads, _device]) command.Add(option);
        command.Validators.Add(result =>
        {
            bool Given(Option option) => result.GetResult(option) is { Implicit: false };
            if (Given(_weights) && Given(_checkpoint)) result.AddError("--weights and --checkpoint exclude each other.");
            if (Given(_vocabulary) != Given(_merges)) result.AddError("--vocab and --merges belong together: give both or neither.");
            if (Given(_vocabulary) && !Given(_weights)) result.AddError("--vocab and --merges go with --weights: a checkpoint says which tokeniser it has.");
        });
    }

    /// <summary>The model, in evaluation mode, its tokeniser and, if it has one, its checkpoint's state.</summary>
    internal (GptModel Model, ITokenizer Tokenizer, RunState? State) Load(ParseResult parsed)
    {
        CommonOptions.ApplyThreads(parsed.GetValue(_threads));
        torch.Device device = CommonOptions.ParseDevice(parsed, _device);
        AttentionKind attention = CommonOptions.ParseAttention(parsed, _attention);
        (GptModel model, ITokenizer tokenizer, RunState? state) = parsed.GetValue(_weights) is { } path ? OpenWeights() : OpenCheckpoint();
        model.to(device);
        model.eval();
        return (model, tokenizer, state);

        (GptModel, ITokenizer, RunState?) OpenWeights()
        {
            using Weights weights = Weights.Open(path);
            ITokenizer tokenizer = CommonOptions.WeightsTokenizer(weights, parsed.GetValue(_vocabulary), parsed.GetValue(_merges)).Load();
            return (weights.LoadModel(attention), weights.Checked(tokenizer), null);
        }

        (GptModel, ITokenizer, RunState?) OpenCheckpoint()
        {
            using Checkpoint checkpoint = Checkpoint.Open(parsed.GetRequiredValue(_checkpoint).FullName);
            ITokenizer tokenizer = checkpoint.LoadTokenizer();
            return (checkpoint.LoadModel(attention), tokenizer, checkpoint.State);
        }
    }
}
