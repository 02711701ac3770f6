namespace Gpt2.Cli;

/// <summary>What the process returns. Wrong options give System.CommandLine's 1 as well.</summary>
internal static class ExitCode
{
    internal const int Success = 0;
    internal const int Failure = 1;

    // The convention of shells: 128 and the number of the signal.
    internal const int Interrupted = 128 + 2;
    internal const int Terminated = 128 + 15;
}
