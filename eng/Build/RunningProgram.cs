using System.Diagnostics;
using System.Runtime.InteropServices;

namespace TorchFlash.Build;

/// <summary>A program that this process started, and what becomes of it when a signal asks this process to end meanwhile.</summary>
internal sealed class RunningProgram : IDisposable
{
    private readonly Lock _gate = new();
    private readonly PosixSignalRegistration[] _signals;
    private bool _disposed;

    /// <summary>Starts the program.</summary>
    /// <param name="start">The program, its arguments and streams.</param>
    /// <param name="onSignal">Called on SIGTERM, SIGHUP and SIGINT while the program runs: <see cref="PassOn"/> or <see cref="End"/>.</param>
    public RunningProgram(ProcessStartInfo start, Action<Process, PosixSignalContext> onSignal)
    {
        // Registered first, so that no signal ends this process and leaves the program behind.
        _signals = [.. new[] { PosixSignal.SIGTERM, PosixSignal.SIGHUP, PosixSignal.SIGINT }.Select(signal => PosixSignalRegistration.Create(signal, Handle))];
        lock (_gate)
        {
            Process = Process.Start(start) ?? throw new InvalidOperationException($"{start.FileName} did not start.");
        }

        void Handle(PosixSignalContext context)
        {
            lock (_gate)
            {
                if (!_disposed && Process is { HasExited: false })
                {
                    onSignal(Process, context);
                }
            }
        }
    }

    public Process Process { get; }

    /// <summary>The program gets the very signal and decides what it means (it may have something to save); this process waits for it.</summary>
    public static void PassOn(Process program, PosixSignalContext context)
    {
        context.Cancel = true;
        if (!ReachesTheProgramAnyway(context.Signal))
        {
            _ = SendSignal(program.Id, NumberOf(context.Signal));
        }
    }

    /// <summary>The program and all that it started end at once, and so does this process: it comes no further than <see cref="Dispose"/>.</summary>
    public static void End(Process program, PosixSignalContext context)
    {
        program.Kill(entireProcessTree: true);
        Environment.Exit(128 + NumberOf(context.Signal));
    }

    public void Dispose()
    {
        foreach (var signal in _signals)
        {
            signal.Dispose();
        }

        lock (_gate)
        {
            _disposed = true;
            Process.Dispose();
        }
    }

    // Ctrl-C goes to every process in the terminal's foreground, as all console events of Windows do; a SIGINT to a process
    // that is not there was sent to that process alone.
    private static bool ReachesTheProgramAnyway(PosixSignal signal)
    {
        if (OperatingSystem.IsWindows())
        {
            return true;
        }

        if (signal != PosixSignal.SIGINT)
        {
            return false;
        }

        try
        {
            using var terminal = File.OpenHandle("/dev/tty", share: FileShare.ReadWrite);
            return ForegroundGroup((int)terminal.DangerousGetHandle()) == OwnGroup();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    // The same on every Unix.
    private static int NumberOf(PosixSignal signal) => signal switch
    {
        PosixSignal.SIGHUP => 1,
        PosixSignal.SIGINT => 2,
        _ => 15,
    };

    [DllImport("libc", EntryPoint = "kill")]
    private static extern int SendSignal(int processId, int signal);

    [DllImport("libc", EntryPoint = "tcgetpgrp")]
    private static extern int ForegroundGroup(int terminal);

    [DllImport("libc", EntryPoint = "getpgrp")]
    private static extern int OwnGroup();
}
