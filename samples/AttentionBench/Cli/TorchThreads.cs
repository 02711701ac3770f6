using System.CommandLine;
using TorchFlash;
using static TorchSharp.torch;

namespace AttentionBench.Cli;

/// <summary>
/// How many threads libtorch and, following it, flash use. Said explicitly, because libtorch's own default differs between
/// builds and machines (some count one core where there are several).
/// </summary>
internal static class TorchThreads
{
    public static Option<int> Option { get; } =
        new("--threads") { Description = "Threads of libtorch and of flash.", DefaultValueFactory = _ => Environment.ProcessorCount };

    public static void Apply(ParseResult parsed) => set_num_threads(parsed.GetValue(Option));
}
