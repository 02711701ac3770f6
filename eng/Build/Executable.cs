using System.Diagnostics;
using System.Runtime.InteropServices;

namespace TorchFlash.Build;

/// <summary>Runs other programs.</summary>
internal static class Executable
{
    /// <summary>The exit code reported for a program that was stopped because it exceeded its time limit.</summary>
    public const int TimedOut = 124;

    // SIGTERM has this number on every Unix.
    private const int TerminationSignal = 15;

    /// <summary>Runs a program on this console and returns its exit code.</summary>
    /// <param name="program">A name on the PATH.</param>
    /// <param name="arguments">Its arguments, one element each.</param>
    /// <param name="workingDirectory">The repository's root when null.</param>
    public static int Run(string program, IEnumerable<string> arguments, string? workingDirectory = null)
    {
        // Ctrl-C reaches the whole process group: the program decides what it means, this process waits for it.
        ConsoleCancelEventHandler leaveToProgram = (_, e) => e.Cancel = true;
        Console.CancelKeyPress += leaveToProgram;
        try
        {
            using var process = Start(new ProcessStartInfo(program, arguments) { WorkingDirectory = workingDirectory ?? Repository.Root });
            using var terminated = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
            {
                context.Cancel = true;
                Terminate(process);
            });
            process.WaitForExit();
            return process.ExitCode;
        }
        finally
        {
            Console.CancelKeyPress -= leaveToProgram;
        }
    }

    /// <summary>Runs a program in the repository's root to its end and returns its exit code and everything it wrote.</summary>
    /// <param name="program">A name on the PATH.</param>
    /// <param name="arguments">Its arguments, one element each.</param>
    /// <param name="environment">Variables set in addition to this process's own.</param>
    /// <param name="limit">When given, the program and its children are stopped after this time.</param>
    public static (int ExitCode, string Output, string Errors) Capture(
        string program,
        IEnumerable<string> arguments,
        IReadOnlyDictionary<string, string>? environment = null,
        TimeSpan? limit = null)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = Repository.Root,
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

        using var process = Start(start);
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

    // The program may have something to save: it gets the very signal, as often as this process does. Windows has none to send.
    private static void Terminate(Process process)
    {
        if (process.HasExited)
        {
            return;
        }

        if (OperatingSystem.IsWindows())
        {
            process.Kill(entireProcessTree: true);
        }
        else
        {
            _ = SendSignal(process.Id, TerminationSignal);
        }
    }

    [DllImport("libc", EntryPoint = "kill")]
    private static extern int SendSignal(int processId, int signal);

    private static Process Start(ProcessStartInfo start) =>
        Process.Start(start) ?? throw new InvalidOperationException($"{start.FileName} did not start.");
}
