using System.Diagnostics;
using System.Runtime.InteropServices;

namespace TorchFlash.Build;

/// <summary>Runs other programs.</summary>
internal static class Executable
{
    /// <summary>The exit code reported for a program that was stopped because it exceeded its time limit.</summary>
    public const int TimedOut = 124;

    /// <summary>Runs a program on this console and returns its exit code. A signal that asks to end, ends both.</summary>
    /// <param name="program">A name on the PATH.</param>
    /// <param name="arguments">Its arguments, one element each.</param>
    public static int Run(string program, IEnumerable<string> arguments) =>
        ExitCode(new ProcessStartInfo(program, arguments) { WorkingDirectory = Repository.Root }, RunningProgram.End);

    /// <summary>Gives the console, in the folder that this process was started in, to a program and returns its exit code: it decides what a signal that asks to end means.</summary>
    /// <param name="program">A name on the PATH.</param>
    /// <param name="arguments">Its arguments, one element each.</param>
    public static int HandOver(string program, IEnumerable<string> arguments) => ExitCode(new ProcessStartInfo(program, arguments), RunningProgram.PassOn);

    /// <summary>Runs a program and returns its exit code and everything it wrote.</summary>
    /// <param name="program">A name on the PATH.</param>
    /// <param name="arguments">Its arguments, one element each.</param>
    /// <param name="environment">Variables set in addition to this process's own.</param>
    /// <param name="limit">When given, the program and its children are stopped after this time.</param>
    /// <param name="workingDirectory">The repository's root when null.</param>
    /// <param name="onSignal">What a signal that asks to end does: both end when null.</param>
    public static (int ExitCode, string Output, string Errors) Capture(
        string program,
        IEnumerable<string> arguments,
        IReadOnlyDictionary<string, string>? environment = null,
        TimeSpan? limit = null,
        string? workingDirectory = null,
        Action<Process, PosixSignalContext>? onSignal = null)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = workingDirectory ?? Repository.Root,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        // A build server that outlives the program would keep its end of the pipes open.
        start.Environment["MSBUILDDISABLENODEREUSE"] = "1";
        start.Environment["UseSharedCompilation"] = "false";
        foreach (var (name, value) in environment ?? new Dictionary<string, string>())
        {
            start.Environment[name] = value;
        }

        using var running = new RunningProgram(start, onSignal ?? RunningProgram.End);
        var process = running.Process;
        var output = process.StandardOutput.ReadToEndAsync();
        var errors = process.StandardError.ReadToEndAsync();
        bool inTime = process.WaitForExit(limit ?? Timeout.InfiniteTimeSpan);
        if (!inTime)
        {
            process.Kill(entireProcessTree: true);
        }

        return (inTime ? process.ExitCode : TimedOut, output.Result, errors.Result);
    }

    /// <summary>Whether a program of this name is on the PATH.</summary>
    public static bool Exists(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Any(folder => File.Exists(Path.Combine(folder, program)));

    private static int ExitCode(ProcessStartInfo start, Action<Process, PosixSignalContext> onSignal)
    {
        using var running = new RunningProgram(start, onSignal);
        running.Process.WaitForExit();
        return running.Process.ExitCode;
    }
}
