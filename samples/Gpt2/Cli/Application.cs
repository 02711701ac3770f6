using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text;
using Gpt2.Files;

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
            TrainCommand.Create(), GenerateCommand.Create(), InfoCommand.Create(),
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
