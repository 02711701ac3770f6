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
    public static T Ask<T>(string what, params string[] arguments)
    {
        using Process child = Start(arguments);
        Task<string> errors = child.StandardError.ReadToEndAsync();
        string output = child.StandardOutput.ReadToEnd();
        child.WaitForExit();
        return child.ExitCode == 0 ? Parse<T>(what, output) : throw Failure(what, child.ExitCode, errors.Result);
    }

    /// <summary>Starts it with all its streams redirected.</summary>
    public static Process Start(params string[] arguments)
    {
        string host = Environment.ProcessPath!;
        string own = typeof(ChildProcess).Assembly.Location;
        bool isOwnHost = Path.GetFileNameWithoutExtension(host) == Path.GetFileNameWithoutExtension(own);

        // Under a test host, this program is not what the process started with.
        string dotnet = Path.GetFileNameWithoutExtension(host) == "dotnet" ? host : "dotnet";
        return Process.Start(new ProcessStartInfo(isOwnHost ? host : dotnet, isOwnHost ? arguments : [own, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
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
        string reason = errors.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).LastOrDefault("without a word");
        return new UserException($"The process that measures {what} ended with exit code {exitCode}: {(exitCode == 128 + 9 ? "killed, as when memory runs out" : reason)}");
    }
}
