using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace TorchFlash.Build.Tests;

/// <summary>
/// A checkout that holds no more than build.sh and its program, below a folder whose name a shell would take apart, and a PATH that begins with
/// stand-ins for the programs it runs.
/// </summary>
[UnsupportedOSPlatform("windows")]
internal sealed class ScratchCheckout : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("torchflash-build-");

    public ScratchCheckout()
    {
        string program = PathOf("eng", "Build", "bin", "Release", "net10.0");
        Directory.CreateDirectory(program);
        Directory.CreateDirectory(Commands);
        foreach (string file in Directory.EnumerateFiles(Path.GetDirectoryName(typeof(Repository).Assembly.Location)!))
        {
            File.Copy(file, Path.Combine(program, Path.GetFileName(file)));
        }

        Directory.CreateDirectory(PathOf("eng", "Build", "obj"));
        File.WriteAllText(PathOf("eng", "Build", "obj", "built"), "");
        File.WriteAllText(PathOf(Repository.Solution), "");
        File.WriteAllText(PathOf("Directory.Build.local.props"), "<Project><PropertyGroup><TorchSharpProvider>NuGet</TorchSharpProvider></PropertyGroup></Project>");
        File.Copy(Repository.PathOf("build.sh"), PathOf("build.sh"));
        // For everything but the build program, dotnet is a command that the test writes. The program is started by its own name:
        // what it starts itself is looked for beside the program first, and beside the real dotnet there is another one.
        WriteCommand("dotnet", """
            case $1 in *Build.dll) program=${1%.dll}; shift; exec "$program" "$@" ;; esac
            exec dotnet-stand-in "$@"
            """);
    }

    private string Commands => Path.Combine(_folder.FullName, "commands");

    public string PathOf(params ReadOnlySpan<string> parts) => Path.Combine([_folder.FullName, "a 'b' $c, d", .. parts]);

    /// <summary>Puts a shell script on the PATH.</summary>
    public void WriteCommand(string name, string script)
    {
        string path = Path.Combine(Commands, name);
        File.WriteAllText(path, "#!/bin/sh\n" + script + "\n");
        File.SetUnixFileMode(path, (UnixFileMode)0b111_101_101);
    }

    /// <summary>Starts a program in this checkout, with its output redirected, away from any terminal and with no signal ignored.</summary>
    public Process Start(IEnumerable<string> command, params ReadOnlySpan<(string Name, string Value)> environment)
    {
        // A shell's background job ignores signals, and hands that down.
        var start = new ProcessStartInfo("setsid", ["env", "--default-signal=HUP,INT,TERM", .. command])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = PathOf(),
        };
        start.Environment["DOTNET_ROOT"] = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", ".."));
        start.Environment["PATH"] = $"{Commands}:{Environment.GetEnvironmentVariable("PATH")}";
        foreach (var (name, value) in environment)
        {
            start.Environment[name] = value;
        }

        return Process.Start(start)!;
    }

    /// <summary>Runs a program in this checkout to its end and returns what it wrote; it must succeed.</summary>
    public string Run(IEnumerable<string> command, params ReadOnlySpan<(string Name, string Value)> environment)
    {
        using var process = Start(command, environment);
        var output = process.StandardOutput.ReadToEndAsync();
        var errors = process.StandardError.ReadToEndAsync();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"exit code {process.ExitCode}:\n{output.Result}{errors.Result}");
        return output.Result;
    }

    public void Dispose() => _folder.Delete(recursive: true);
}

/// <summary>A test of what Linux alone has: the scripts' tools.</summary>
internal sealed class LinuxTheoryAttribute : TheoryAttribute
{
    public LinuxTheoryAttribute() => Skip = OperatingSystem.IsLinux() ? null : "it runs on Linux only";
}
