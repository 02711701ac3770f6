using System.Diagnostics;
using System.Text.Json;
using Gpt2;

namespace AttentionBench.Measuring;

/// <summary>This program once more, in a process of its own: for what must be measured where nothing else has happened yet.</summary>
internal static class ChildProcess
{
    /// <summary>Runs it to the end and reads the answer in its last line.</summary>
    /// <param name="what">What it measures, for messages.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <exception cref="UserException">It fails, or does not answer.</exception>
    public static T Ask<T>(string what, params string[] arguments) => Parse<T>(what, Run(what, "", arguments));

    /// <summary>Runs it to the end.</summary>
    /// <param name="what">What it measures, for messages.</param>
    /// <param name="switchedOff">An environment variable that is to be 0 in it; empty: none.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <returns>Its output.</returns>
    /// <exception cref="UserException">It fails.</exception>
    public static string Run(string what, string switchedOff, params string[] arguments)
    {
        using Process child = Start(switchedOff, arguments);
        Task<string> errors = child.StandardError.ReadToEndAsync();
        string output = child.StandardOutput.ReadToEnd();
        child.WaitForExit();
        return child.ExitCode == 0 ? output : throw Failure(what, child.ExitCode, errors.Result);
    }

    /// <summary>Starts it with all its streams redirected.</summary>
    public static Process Start(params string[] arguments) => Start("", arguments);

    private static Process Start(string switchedOff, string[] arguments)
    {
        string host = Environment.ProcessPath!;
        string own = typeof(ChildProcess).Assembly.Location;
        bool isOwnHost = Path.GetFileNameWithoutExtension(host) == Path.GetFileNameWithoutExtension(own);

        // Under a test host, this program is not what the process started with.
        string dotnet = Path.GetFileNameWithoutExtension(host) == "dotnet" ? host : "dotnet";
        var start = new ProcessStartInfo(isOwnHost ? host : dotnet, isOwnHost ? arguments : [own, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        if (switchedOff.Length > 0)
            start.Environment[switchedOff] = "0";
        return Process.Start(start)!;
    }

    /// <summary>The answer in the last line of an output.</summary>
    /// <exception cref="UserException">There is none.</exception>
    public static T Parse<T>(string what, string output)
    {
        string last = output.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).LastOrDefault("");
        try
        {
            return JsonSerializer.Deserialize<T>(last) ?? throw new JsonException();
        }
        catch (JsonException e)
        {
            throw new UserException($"The process that measures {what} answered '{last}'.", e);
        }
    }

    /// <summary>What to say when it has ended by itself.</summary>
    public static UserException Failure(string what, int exitCode, string errors)
    {
        // The runtime's own words and a stack trace are around the reason, announcements of TorchFlash before it.
        string reason = errors.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
            .FirstOrDefault(line => line != "Process terminated." && !line.StartsWith("TorchFlash:", StringComparison.Ordinal), "without a word");
        return new UserException($"The process that measures {what} ended with exit code {exitCode}: {(exitCode == 128 + 9 ? "killed, as when memory runs out" : reason.TrimEnd('.'))}");
    }
}
