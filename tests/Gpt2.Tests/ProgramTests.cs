using System.Diagnostics;
using System.Xml.Linq;
using Gpt2.Cli;
using Gpt2.Training;

namespace Gpt2.Tests;

public sealed class ProgramTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _checkpoint;
    private readonly string _text;

    public ProgramTests()
    {
        _checkpoint = _folder.File("run.safetensors");
        _text = _folder.Write("text.txt", string.Join(' ', Enumerable.Range(0, 3000)));
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Trains_resumes_generates_and_describes()
    {
        string trained = Run("train", "--data", _text, "--steps", "3", "--batch-size", "2", "--context", "32", "--threads", "1", "--checkpoint", _checkpoint);
        Assert.Contains("step      1/3", trained);
        Assert.Contains("step      3/3", trained);
        Assert.NotNull(XDocument.Load(_folder.File("run.svg")).Root);

        string resumed = Run("train", "--resume", "--steps", "5", "--attention", "naive", "--threads", "1", "--checkpoint", _checkpoint);
        Assert.Contains("resumed after step 3", resumed);
        Assert.DoesNotContain("step      3/5", resumed);
        Assert.Contains("step      5/5", resumed);

        string[] generate = ["generate", "--threads", "1", "--checkpoint", _checkpoint, "--prompt", "12 13 ", "--tokens", "40", "--seed", "7"];
        string written = Run(generate);
        Assert.StartsWith("12 13 ", written);
        Assert.Equal(written, Run(generate));

        string described = Run("info", "--checkpoint", _checkpoint);
        Assert.Contains("124,439,808", described);
        Assert.Contains("step 5 of 5, attention naive", described);
    }

    [Fact]
    public void A_finished_run_is_not_resumed_and_a_new_run_keeps_the_old_checkpoint()
    {
        string[] train = ["train", "--data", _text, "--steps", "1", "--batch-size", "1", "--context", "16", "--threads", "1", "--checkpoint", _checkpoint];
        Run(train);
        byte[] first = File.ReadAllBytes(_checkpoint);
        var error = new StringWriter();
        Assert.Equal(ExitCode.Failure, Application.Run(["train", "--resume", "--threads", "1", "--checkpoint", _checkpoint], TextWriter.Null, error));
        Assert.Contains("has finished its 1 steps", error.ToString());

        Run([.. train, "--seed", "2"]);
        Assert.Equal(first, File.ReadAllBytes(_folder.File("run.previous.safetensors")));
        Assert.NotEqual(first, File.ReadAllBytes(_checkpoint));
    }

    [Fact]
    public async Task An_interrupt_saves_and_says_so_by_the_exit_code()
    {
        if (OperatingSystem.IsWindows()) return; // It has no signal that one process can send to just one other.

        string program = typeof(Application).Assembly.Location;
        string[] arguments = [program, "train", "--data", _text, "--steps", "1000000", "--batch-size", "1", "--context", "16", "--threads", "1", "--checkpoint", _checkpoint];
        // A shell's background job ignores the signal, and hands that down: env, which then becomes the program, undoes it.
        ProcessStartInfo start = OperatingSystem.IsLinux() ? new("env", ["--default-signal=INT", "dotnet", .. arguments]) : new("dotnet", arguments);
        start.RedirectStandardOutput = true;
        using Process process = Process.Start(start)!;
        try
        {
            while (await process.StandardOutput.ReadLineAsync() is { } line && !line.StartsWith("step", StringComparison.Ordinal))
            {
            }

            // The shell's own kill: a minimal system has no program of that name. Twice, as to a process and to its group.
            using (Process kill = Process.Start("sh", ["-c", $"kill -INT {process.Id}; kill -INT {process.Id}"])) await kill.WaitForExitAsync();
            string rest = await process.StandardOutput.ReadToEndAsync().WaitAsync(TimeSpan.FromSeconds(60));
            await process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(60));

            Assert.Equal(ExitCode.Interrupted, process.ExitCode);
            Assert.Contains("Go on with: train --resume", rest);
            using Checkpoint checkpoint = Checkpoint.Open(_checkpoint);
            Assert.InRange(checkpoint.State.Step, 1, 999_999);
        }
        finally
        {
            if (!process.HasExited) process.Kill();
        }
    }

    private static string Run(params string[] arguments)
    {
        StringWriter output = new(), error = new();
        Assert.True(Application.Run(arguments, output, error) == ExitCode.Success, error.ToString());
        return output.ToString();
    }
}
