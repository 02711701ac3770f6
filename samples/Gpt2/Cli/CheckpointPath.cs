using System.CommandLine.Parsing;

namespace Gpt2.Cli;

/// <summary>What <c>--checkpoint</c> of a training run may name. Messages name the option.</summary>
internal static class CheckpointPath
{
    private const string PictureExtension = ".svg";

    /// <summary>Where the loss curve of a run goes.</summary>
    internal static string Picture(string path) => Path.ChangeExtension(path, PictureExtension);

    /// <summary>Refuses a name that the loss curve would take from the checkpoint.</summary>
    internal static void IsNotThePicture(OptionResult result)
    {
        foreach (Token token in result.Tokens.Where(token => Path.GetExtension(token.Value).Equals(PictureExtension, StringComparison.OrdinalIgnoreCase)))
            result.AddError($"{result.Option.Name}: '{token.Value}' has the extension of the loss curve, which is drawn beside the checkpoint; give another one.");
    }

    /// <summary>Makes the folder and finds out whether a checkpoint can be written there, before hours are spent on it.</summary>
    /// <exception cref="UserException">It cannot.</exception>
    internal static void Probe(string path)
    {
        if (Directory.Exists(path) || Path.EndsInDirectorySeparator(path)) throw new UserException($"--checkpoint: {path} is a folder; name a file.");
        Guard(() =>
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            new FileStream(path + ".probe", FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 0, FileOptions.DeleteOnClose).Dispose();
        });
    }

    /// <summary>Does something with the checkpoint's files.</summary>
    /// <exception cref="UserException">The operating system refuses it.</exception>
    internal static void Guard(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"--checkpoint: {e.Message}", e);
        }
    }
}
