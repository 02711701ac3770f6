using System.Diagnostics;
using System.Reflection;

namespace TorchSharpTests;

/// <summary>A static method without parameters, run in a process of its own: this assembly's, started as a program.</summary>
internal sealed record Child(int ExitCode, string Output)
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(3);

    /// <summary>The exit code of a process that ended in <c>abort</c>.</summary>
    internal const int Aborted = 128 + 6;

    internal static Child Run(Action method, string? variable = null, string? value = null)
    {
        string folder = Directory.CreateTempSubdirectory("torch").FullName;
        try
        {
            var start = new ProcessStartInfo(Environment.ProcessPath!)
            {
                ArgumentList = { typeof(Child).Assembly.Location, method.Method.DeclaringType!.FullName!, method.Method.Name },
                WorkingDirectory = folder,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            };
            if (!Path.GetFileNameWithoutExtension(start.FileName).Equals("dotnet", StringComparison.Ordinal))
            {
                start.FileName = "dotnet";
            }
            if (variable is not null)
            {
                start.Environment[variable] = value; // null: not set
            }
            using Process process = Process.Start(start)!;
            Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
            if (!process.WaitForExit(Limit))
            {
                process.Kill(entireProcessTree: true);
                process.WaitForExit();
            }
            return new Child(process.ExitCode, output.Result + error.Result);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}

internal static class Program
{
    private static int Main(string[] arguments)
    {
        MethodInfo method = typeof(Program).Assembly.GetType(arguments[0])!
            .GetMethod(arguments[1], BindingFlags.Static | BindingFlags.NonPublic | BindingFlags.Public)!;
        method.CreateDelegate<Action>()();
        return 0;
    }
}
