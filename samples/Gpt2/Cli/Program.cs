using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text;

namespace Gpt2.Cli;

/// <summary>What the process returns. Wrong options give System.CommandLine's 1 as well.</summary>
internal static class ExitCode
{
    internal const int Success = 0;
    internal const int Failure = 1;

    // The convention of shells: 128 and the number of the signal.
    internal const int HungUp = 128 + 1;
    internal const int Interrupted = 128 + 2;
    internal const int ClosedPipe = 128 + 13;
    internal const int Terminated = 128 + 15;
}

/// <summary>The command line as a whole.</summary>
public static class Application
{
    private const string Remedy = "Try a smaller --batch-size, --context or --preset.";

    // Beyond the process's limit on file sizes (SIGXFSZ) a write is to fail like on a full disk, not to kill. Signals are
    // dispatched late: this holds to the very end.
    private static PosixSignalRegistration? _fileSizeLimit;

    /// <summary>Runs on the console.</summary>
    internal static int Main(string[] arguments)
    {
        if (!OperatingSystem.IsWindows()) _fileSizeLimit = PosixSignalRegistration.Create((PosixSignal)25, context => context.Cancel = true);
        Console.OutputEncoding = Encoding.UTF8;
        return Guard(Console.Error, () =>
        {
            StandardOutput.Install();
            return Run(arguments, Console.Out, Console.Error);
        });
    }

    /// <summary>Parses and runs.</summary>
    /// <param name="arguments">What stands after the program's name.</param>
    /// <param name="output">Takes everything but error messages; a progress bar needs it to be a terminal.</param>
    /// <param name="error">Takes the error messages.</param>
    /// <returns>0; 1 for wrong options or anything else the user can put right; 129, 130, 141 or 143 when interrupted.</returns>
    public static int Run(IReadOnlyList<string> arguments, TextWriter output, TextWriter error) => Guard(error, () =>
    {
        var root = new RootCommand("Train a GPT-2 model on TorchFlash's attention, and let it write.")
        {
            TrainCommand.Create(), GenerateCommand.Create(), EvaluateCommand.Create(), ExportCommand.Create(), TokenizerCommand.Create(), InfoCommand.Create(),
        };

        // "@name" is a prompt like any other, not a file with more options.
        var syntax = new ParserConfiguration { ResponseFileTokenReplacer = null };

        // Training handles signals itself: it needs more time to save than the library grants.
        var invocation = new InvocationConfiguration { Output = output, Error = error, EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };
        return root.Parse(arguments, syntax).Invoke(invocation);
    });

    private static int Guard(TextWriter error, Func<int> run)
    {
        try
        {
            return run();
        }
        catch (ClosedPipeException)
        {
            return ExitCode.ClosedPipe;
        }
        catch (Exception e) when (Message(e) is { } message)
        {
            try
            {
                error.WriteLine(UserException.OneLine(message));
            }
            catch (Exception nobodyListens) when (nobodyListens is IOException or UnauthorizedAccessException)
            {
            }

            return ExitCode.Failure;
        }
    }

    // The files of a run have messages of their own: what is left of input and output is standard output and the current folder.
    private static string? Message(Exception e) => e switch
    {
        UserException or IOException or UnauthorizedAccessException => e.Message,
        OutOfMemoryException => $"Out of memory. {Remedy}",
        ExternalException when IsAllocation(e.Message) => $"Out of memory: {e.Message.Split('\n')[0]}. {Remedy}",
        _ => null,
    };

    // libtorch's ("can't allocate memory", "CUDA out of memory. Tried to allocate") and C++'s own.
    private static bool IsAllocation(string message) =>
        message.Contains("allocate", StringComparison.Ordinal) || message.Contains("bad_alloc", StringComparison.Ordinal);
}

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

/// <summary>Nobody reads the pipe any more: <c>train | head</c>.</summary>
internal sealed class ClosedPipeException() : IOException("standard output: the pipe is closed.");

/// <summary>
/// Standard output on Unix that says when nobody takes it any more; the console's own goes on into a closed pipe for ever.
/// <see cref="Flush"/> says so even when there is nothing to write.
/// </summary>
internal sealed class StandardOutput : Stream
{
    private const int Descriptor = 1;

    private StandardOutput()
    {
    }

    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    /// <summary>Makes this the console's output, except on Windows.</summary>
    /// <exception cref="IOException">The process was started with its output closed.</exception>
    internal static void Install()
    {
        if (OperatingSystem.IsWindows()) return;

        // An inherited descriptor does not close on exec. One that does is a file of the runtime's own, which got the free number.
        const int GetFlags = 1;
        if (fcntl(Descriptor, GetFlags) != 0) throw new IOException("standard output is closed.");
        Console.SetOut(new StreamWriter(new StandardOutput(), new UTF8Encoding(encoderShouldEmitUTF8Identifier: false)) { AutoFlush = true });
    }

    public override void Write(byte[] buffer, int offset, int count)
    {
        while (count > 0)
        {
            nint written = write(Descriptor, ref buffer[offset], (nuint)count);
            if (written >= 0) (offset, count) = (offset + (int)written, count - (int)written);
            else WaitOrThrow(Marshal.GetLastPInvokeError());
        }
    }

    public override void Flush()
    {
        const short Error = 8, HungUp = 16;
        if ((Poll(wanted: 0, milliseconds: 0) & (Error | HungUp)) != 0) throw new ClosedPipeException();
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    // A pipe that another process has made non-blocking is only full for now.
    private static void WaitOrThrow(int error)
    {
        const int Interrupted = 4, BrokenPipe = 32;
        const short Writable = 4;
        int tryAgain = OperatingSystem.IsMacOS() ? 35 : 11;
        if (error == BrokenPipe) throw new ClosedPipeException();
        if (error == tryAgain) Poll(Writable, milliseconds: 1000);
        else if (error != Interrupted) throw new IOException($"standard output: {Marshal.GetPInvokeErrorMessage(error)}.");
    }

    private static short Poll(short wanted, int milliseconds)
    {
        var descriptor = new PollDescriptor { Descriptor = Descriptor, Wanted = wanted };
        return poll(ref descriptor, 1, milliseconds) > 0 ? descriptor.Returned : (short)0;
    }

    private struct PollDescriptor
    {
        internal int Descriptor;
        internal short Wanted;
        internal short Returned;
    }

    [DllImport("libc", SetLastError = true)]
    private static extern nint write(int descriptor, ref byte buffer, nuint count);

    [DllImport("libc", SetLastError = true)]
    private static extern int poll(ref PollDescriptor descriptors, nuint count, int milliseconds);

    [DllImport("libc", SetLastError = true)]
    private static extern int fcntl(int descriptor, int command);
}
