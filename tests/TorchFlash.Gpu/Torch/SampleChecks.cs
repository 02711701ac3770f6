using System.Globalization;
using System.Text.RegularExpressions;
using TorchFlash.Gpu.Report;

namespace TorchFlash.Gpu.Torch;

/// <summary>The GPT-2 sample, trained for a few steps as its users do.</summary>
internal static partial class SampleChecks
{
    public static IEnumerable<Check> All(TorchGpu gpu, FileInfo? text)
    {
        if (text is not null)
            yield return new Check("the GPT-2 sample learns, saves, resumes and generates", () => Train(gpu, text));
    }

    private static string Train(TorchGpu gpu, FileInfo text)
    {
        using var folder = new TemporaryFolder();
        string checkpoint = folder.File("gpt2.safetensors"), device = gpu.Device.ToString();
        // An emulated GPU would take minutes for it.
        string[] size = gpu.IsRehearsal ? ["--context", "32", "--batch-size", "1", "--steps", "2", "--attention", "sdpa"] : ["--steps", "60"];
        string trained = Gpt2(["train", "--device", device, "--data", text.FullName, "--checkpoint", checkpoint, .. size]);
        Match losses = Losses().Match(trained);
        double first = Number(losses, 1), last = Number(losses, 2);
        if (!gpu.IsRehearsal && !(last < first - 1))
            throw new InvalidOperationException(FormattableString.Invariant($"the loss went from {first:F3} to {last:F3}"));
        Gpt2("train", "--device", device, "--resume", "--checkpoint", checkpoint, "--steps", gpu.IsRehearsal ? "3" : "70");
        string generated = Gpt2("generate", "--device", device, "--checkpoint", checkpoint, "--tokens", "20", "--attention", gpu.IsRehearsal ? "sdpa" : "flash");
        return FormattableString.Invariant($"loss {first:F3} -> {last:F3}; wrote {generated.Trim().Length} characters");
    }

    private static string Gpt2(params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        int code = global::Gpt2.Cli.Application.Run(arguments, output, error);
        return code == ExitCode.Passed ? output.ToString() : throw new InvalidOperationException($"gpt2 {string.Join(' ', arguments)} ended with {code}: {error}");
    }

    private static double Number(Match match, int group) => match.Success
        ? double.Parse(match.Groups[group].Value, CultureInfo.InvariantCulture)
        : throw new InvalidOperationException("the sample did not print its losses");

    [GeneratedRegex(@"Loss ([0-9.]+) -> ([0-9.]+)")]
    private static partial Regex Losses();
}
