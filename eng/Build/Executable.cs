using System.Diagnostics;
using System.Runtime.InteropServices;

namespace TorchFlash.Build;

/// <summary>Runs other programs.</summary>
internal static class Executable
{
    /// <summary>The exit code reported for a program that was stopped because it exceeded its time limit.</summary>
    public const int TimedOut = 124;

    /// <summary>Runs a program on this console and returns its exit code.</summary>
    /// <param name="workingDirectory">The repository's root when null.</param>
    /// <param name="environment">Variables set in addition to this process's own.</param>
    /// <param name="limit">When given, the program and its children are stopped after this time.</param>
    /// <param name="onlyErrors">Drops what the program writes to its standard output.</param>
    public static int Run(
        string program,
        IEnumerable<string> arguments,
        string? workingDirectory = null,
        IReadOnlyDictionary<string, string>? environment = null,
        TimeSpan? limit = null,
        bool onlyErrors = false)
    {
        // Ctrl-C reaches the whole process group: the program decides what it means, this process waits for it.
        ConsoleCancelEventHandler leaveToProgram = (_, e) => e.Cancel = true;
        Console.CancelKeyPress += leaveToProgram;
        try
        {
            using var process = Start(program, arguments, workingDirectory, environment, redirectOutput: onlyErrors, redirectErrors: false);
            _ = onlyErrors ? process.StandardOutput.BaseStream.CopyToAsync(Stream.Null) : Task.CompletedTask;
            using var terminated = PosixSignalRegistration.Create(PosixSignal.SIGTERM, _ => process.Kill(entireProcessTree: true));
            if (process.WaitForExit(limit ?? Timeout.InfiniteTimeSpan))
            {
                return process.ExitCode;
            }

            process.Kill(entireProcessTree: true);
            process.WaitForExit();
            return TimedOut;
        }
        finally
        {
            Console.CancelKeyPress -= leaveToProgram;
        }
    }

    /// <summary>Runs a program to its end and returns its exit code and everything it wrote.</summary>
    public static (int ExitCode, string Output) Capture(
        string program,
        IEnumerable<string> arguments,
        IReadOnlyDictionary<string, string>? environment = null)
    {
        // A build server that outlives the program would keep its end of the pipes open.
        var alone = new Dictionary<string, string>(environment ?? new Dictionary<string, string>())
        {
            ["MSBUILDDISABLENODEREUSE"] = "1",
            ["UseSharedCompilation"] = "false",
        };
        using var process = Start(program, arguments, null, alone, redirectOutput: true, redirectErrors: true);
        var errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + errors.Result);
    }

    /// <summary>Whether a program of this name is on the PATH.</summary>
    public static bool Exists(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Any(folder => File.Exists(Path.Combine(folder, program)));

    private static Process Start(
        string program,
        IEnumerable<string> arguments,
        string? workingDirectory,
        IReadOnlyDictionary<string, string>? environment,
        bool redirectOutput,
        bool redirectErrors)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = workingDirectory ?? Repository.Root,
            RedirectStandardOutput = redirectOutput,
            RedirectStandardError = redirectErrors,
        };
        foreach (var (name, value) in environment ?? new Dictionary<string, string>())
        {
            start.Environment[name] = value;
        }

        return Process.Start(start) ?? throw new InvalidOperationException($"{program} did not start.");
    }
}
