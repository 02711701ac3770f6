using System.CommandLine;

namespace Gpt2.Cli;

/// <summary>The command line as a whole.</summary>
public static class Application
{
    /// <summary>Parses and runs.</summary>
    /// <param name="arguments">What stands after the program's name.</param>
    /// <param name="output">Takes everything but error messages; a progress bar needs it to be a terminal.</param>
    /// <param name="error">Takes the error messages.</param>
    /// <returns>0; 1 for wrong options or anything else the user can put right; 130 or 143 when interrupted.</returns>
    public static int Run(IReadOnlyList<string> arguments, TextWriter output, TextWriter error)
    {
        var root = new RootCommand("Train a GPT-2 model on TorchFlash's attention, and let it write.")
        {
            TrainCommand.Create(), GenerateCommand.Create(), InfoCommand.Create(),
        };

        // Training handles signals itself: it needs more time to save than the library grants.
        var configuration = new InvocationConfiguration { Output = output, Error = error, EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };
        try
        {
            return root.Parse(arguments).Invoke(configuration);
        }
        catch (UserException e)
        {
            error.WriteLine(e.Message);
            return ExitCode.Failure;
        }
    }
}
