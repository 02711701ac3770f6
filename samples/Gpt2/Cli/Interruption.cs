using System.Runtime.InteropServices;

namespace Gpt2.Cli;

/// <summary>Turns the first Ctrl-C, hang-up or termination signal into a wish to stop after the current step; a later one kills.</summary>
internal sealed class Interruption : IDisposable
{
    // "timeout" and service managers signal a process and its group, and build.sh passes on what it gets: all that is one wish.
    private const int OneWishMilliseconds = 2000;

    private readonly PosixSignalRegistration[] _registrations;
    private long _since;
    private volatile int _exitCode;

    internal Interruption()
    {
        _registrations =
        [
            Register(PosixSignal.SIGINT, Cli.ExitCode.Interrupted),
            Register(PosixSignal.SIGTERM, Cli.ExitCode.Terminated),
            Register(PosixSignal.SIGHUP, Cli.ExitCode.HungUp),
        ];
    }

    /// <summary>The exit code of an interrupted process, or null while nobody has interrupted it.</summary>
    internal int? ExitCode => _exitCode == 0 ? null : _exitCode;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations) registration.Dispose();
    }

    private PosixSignalRegistration Register(PosixSignal signal, int exitCode) =>
        PosixSignalRegistration.Create(signal, context =>
        {
            if (_exitCode == 0)
            {
                _since = Environment.TickCount64;
                _exitCode = exitCode;
            }

            context.Cancel = Environment.TickCount64 - _since < OneWishMilliseconds;
        });
}
