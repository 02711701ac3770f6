using System.Diagnostics;
using System.Runtime.Versioning;

namespace TorchFlash.Build.Tests;

[UnsupportedOSPlatform("windows")]
public sealed class SignalTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(5);

    [LinuxTheory]
    [InlineData("TERM")]
    [InlineData("HUP")]
    [InlineData("INT")]
    public async Task SignalToTheScriptReachesTheProgramThatItRuns(string signal)
    {
        using ScratchCheckout checkout = new();
        checkout.WriteCommand("dotnet-stand-in", """
            [ "$1" != msbuild ] || exit 0
            for signal in TERM HUP INT; do trap "echo $signal; exit 42" $signal; done
            echo ready
            while :; do sleep 0.05; done
            """);
        using var script = checkout.Start(["./build.sh", "train"]);
        try
        {
            Assert.Equal("ready", await script.StandardOutput.ReadLineAsync().WaitAsync(s_limit));

            Assert.True(Send(signal, script.Id));

            Assert.Equal(signal + "\n", await script.StandardOutput.ReadToEndAsync().WaitAsync(s_limit));
            await script.WaitForExitAsync().WaitAsync(s_limit);
            Assert.Equal(42, script.ExitCode);
        }
        finally
        {
            Send("KILL", -script.Id);
        }
    }

    // MSBuild says 0 when it was asked to end: what comes after it must not begin.
    [LinuxTheory]
    [InlineData("TERM", "msbuild")]
    [InlineData("INT", "msbuild")]
    [InlineData("TERM", "test")]
    [InlineData("HUP", "test")]
    [InlineData("INT", "test")]
    public async Task SignalToAVerbsOwnStepEndsBothAndLeavesNothingRunning(string signal, string step)
    {
        using ScratchCheckout checkout = new();
        string started = checkout.PathOf("started");
        Directory.CreateDirectory(checkout.PathOf("tests", "A.Tests"));
        checkout.WriteCommand("dotnet-stand-in", """
            [ "$1" = "$STEP" ] || exit 0
            trap 'exit 0' TERM INT HUP
            sleep 1000 &
            echo $$ $! > "$STARTED.new"
            mv "$STARTED.new" "$STARTED"
            wait
            """);
        using var script = checkout.Start(["./build.sh", "test"], ("STARTED", started), ("STEP", step));
        try
        {
            var clock = Stopwatch.StartNew();
            while (!File.Exists(started))
            {
                Assert.False(script.HasExited || clock.Elapsed > s_limit, "The stand-in did not start.");
                await Task.Delay(20);
            }

            Assert.True(Send(signal, script.Id));
            await script.WaitForExitAsync().WaitAsync(s_limit);

            Assert.InRange(script.ExitCode, 128, 128 + 15);
            Assert.All(File.ReadAllText(started).Split(' '), id => Assert.False(Runs(int.Parse(id)), $"Process {id} still runs."));
        }
        finally
        {
            Send("KILL", -script.Id);
        }
    }

    // By the shell's own kill: a minimal system has no program of that name. A negative number names the group, which the script leads.
    private static bool Send(string signal, int process)
    {
        using var kill = Process.Start(new ProcessStartInfo("sh", ["-c", "kill -s $0 -- $1", signal, process.ToString()]) { RedirectStandardError = true })!;
        kill.WaitForExit();
        return kill.ExitCode == 0;
    }

    // A process that ended but was not waited for has no command line any more.
    private static bool Runs(int process)
    {
        try
        {
            return File.ReadAllText($"/proc/{process}/cmdline").Length > 0;
        }
        catch (IOException)
        {
            return false;
        }
    }
}
