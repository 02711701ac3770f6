using System.Runtime.InteropServices;

namespace Gpt2.Cli;

/// <summary>Turns the first Ctrl-C or termination signal into a wish to stop after the current step; a second one kills.</summary>
internal sealed class Interruption : IDisposable
{
    private readonly PosixSignalRegistration[] _registrations;
    private volatile int _exitCode;

    internal Interruption()
    {
        _registrations = [Register(PosixSignal.SIGINT, Cli.ExitCode.Interrupted), Register(PosixSignal.SIGTERM, Cli.ExitCode.Terminated)];
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
            context.Cancel = _exitCode == 0;
            _exitCode = exitCode;
        });
}
