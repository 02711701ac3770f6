using System.CommandLine;
using System.CommandLine.Parsing;
using System.Text;
using AttentionBench.IoModel;
using AttentionBench.Measuring;
using AttentionBench.Verbs;
using Gpt2;
using Gpt2.Cli;

namespace AttentionBench.Cli;

/// <summary>The command line as a whole.</summary>
internal static class Program
{
    private const int Success = 0, Failure = 1, ClosedPipe = 128 + 13;

    internal static int Main(string[] arguments)
    {
        Console.OutputEncoding = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false);
        try
        {
            StandardOutput.Install();
            return Run(arguments, Console.Out, Console.Error);
        }
        catch (Exception e) when (e is ClosedPipeException or IOException)
        {
            return e is ClosedPipeException ? ClosedPipe : Refuse(Console.Error, e.Message);
        }
    }

    /// <summary>Parses and runs.</summary>
    /// <returns>0; 1 for wrong options, anything else the user can put right, and limits that do not hold.</returns>
    internal static int Run(IReadOnlyList<string> arguments, TextWriter output, TextWriter error)
    {
        ParseResult parsed = Root().Parse(arguments, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (parsed.Errors.Count > 0 && parsed.CommandResult.Command is not RootCommand)
        {
            foreach (ParseError wrong in parsed.Errors)
                Refuse(error, wrong.Message);
            return Failure;
        }
        try
        {
            return parsed.Invoke(new InvocationConfiguration { Output = output, Error = error, EnableDefaultExceptionHandler = false });
        }
        catch (UserException e)
        {
            return Refuse(error, e.Message);
        }
    }

    private static RootCommand Root() => new("Measurements of TorchFlash's attention: ratios, taken turn by turn in one run.")
    {
        AttentionCommand.Command(),
        KernelCommand.Command(),
        CallsCommand.Command(),
        Gpt2Command.Command(),
        MemoryCommand.Command(),
        MixedCommand.Command(),
        TilesCommand.Command(),
        PartsCommand.Command(),
        ScoresCommand.Command(),
        SparseCommand.Command(),
        IoCommand.Command(),
        VersusCommand.Command(),
        ReportCommand.Command(),
        Probe.Command(),
        Gpt2Process.Command(),
    };

    private static int Refuse(TextWriter error, string message)
    {
        error.WriteLine(UserException.OneLine(message));
        return Failure;
    }
}
