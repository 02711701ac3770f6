using System.Diagnostics;
using System.Xml.Linq;
using Gpt2.Cli;

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
        string[] batch = Run([.. generate, "--prompt", "7 8"]).Split('\n');
        Assert.Contains(batch, line => line.StartsWith("[1] 12 13 ", StringComparison.Ordinal));
        Assert.Contains(batch, line => line.StartsWith("[2] 7 8", StringComparison.Ordinal));

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

    [Theory]
    [InlineData("INT", ExitCode.Interrupted)]
    [InlineData("TERM", ExitCode.Terminated)]
    [InlineData("HUP", ExitCode.HungUp)]
    public async Task A_signal_saves_and_shows_in_the_exit_code(string signal, int exitCode)
    {
        if (OperatingSystem.IsWindows()) return; // It has no signal that one process can send to just one other.

        // A shell's background job ignores some signals, and hands that down: env, which then becomes the program, undoes it.
        string reset = OperatingSystem.IsLinux() ? $"env --default-signal={signal} " : "";
        using Process process = StartShell($"exec {reset}{EndlessTraining}");
        try
        {
            while (await process.StandardOutput.ReadLineAsync() is { } line && !line.StartsWith("step", StringComparison.Ordinal))
            {
            }

            // The shell's own kill: a minimal system has no program of that name. Twice, as to a process and to its group.
            using (Process kill = Process.Start("sh", ["-c", $"kill -{signal} {process.Id}; kill -{signal} {process.Id}"])) await kill.WaitForExitAsync();
            string rest = await process.StandardOutput.ReadToEndAsync().WaitAsync(TimeSpan.FromSeconds(60));
            await process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(60));

            Assert.Equal(exitCode, process.ExitCode);
            if (signal != "HUP") Assert.Contains("Go on with: train --resume", rest);
            SavedInTheMiddle();
        }
        finally
        {
            if (!process.HasExited) process.Kill();
        }
    }

    [Fact]
    public void Training_into_a_pipe_that_closes_saves_and_ends_quietly()
    {
        if (OperatingSystem.IsWindows()) return; // sh
        (int exitCode, string output, string error) = Shell($"{{ {EndlessTraining}; echo $? > '{_folder.File("code")}'; }} | head -n 4");
        Assert.Equal((0, ""), (exitCode, error));
        Assert.StartsWith("Model", output);
        Assert.Equal($"{ExitCode.ClosedPipe}\n", File.ReadAllText(_folder.File("code")));
        SavedInTheMiddle();
    }

    [Fact]
    public void Training_onto_a_full_disk_keeps_what_there_is()
    {
        if (!OperatingSystem.IsLinux()) return; // /dev/full, and a limit on the size of files
        (int exitCode, _, string error) = Shell($"{EndlessTraining} > /dev/full");
        Assert.Equal((ExitCode.Failure, "standard output: No space left on device.\n"), (exitCode, error));

        Run(Training("--steps", "2"));
        byte[] good = File.ReadAllBytes(_checkpoint);
        string[] before = Directory.GetFiles(_folder.ToString());

        // 512 KB, less than a checkpoint. The runtime's own doubly mapped code pages count as a file.
        (exitCode, _, error) = Shell($"ulimit -f 1000; DOTNET_EnableWriteXorExecute=0 {Program} train --resume --steps 4 --threads 1 --checkpoint '{_checkpoint}'");
        Assert.Equal(ExitCode.Failure, exitCode);
        Assert.StartsWith($"--checkpoint: {_checkpoint} cannot be written: ", error);
        Assert.Single(error.TrimEnd().Split('\n'));
        Assert.Equal(good, File.ReadAllBytes(_checkpoint));
        Assert.Equal(before.Order(), Directory.GetFiles(_folder.ToString()).Order());
    }

    [Theory]
    [InlineData("info > /dev/full", "standard output: No space left on device.")]
    [InlineData("info >&-", "standard output is closed.")]
    [InlineData("--help > /dev/full", "standard output: No space left on device.")]
    [InlineData("info --checkpoint pipe", "/pipe is a pipe, a socket or a device; name a file.")]
    [InlineData("generate --checkpoint pipe", "pipe is a pipe, a socket or a device; name a file.")]
    [InlineData("train --checkpoint pipe", "pipe is a pipe, a socket or a device. It is left as it is; name another file, or move it away.")]
    [InlineData("train --data pipe --checkpoint new.safetensors", "pipe is a pipe, a socket or a device; name a file.")]
    public void Hostile_surroundings_get_one_line(string arguments, string message)
    {
        if (!OperatingSystem.IsLinux()) return; // /dev/full, mkfifo
        (int exitCode, string output, string error) = Shell($"cd '{_folder}' && mkfifo pipe && {Program} {arguments}");
        Assert.Equal((ExitCode.Failure, ""), (exitCode, output));
        Assert.EndsWith(message, error.TrimEnd());
        Assert.Single(error.TrimEnd().Split('\n'));
    }

    [Fact]
    public void Absurdly_many_threads_from_outside_are_refused()
    {
        if (OperatingSystem.IsWindows()) return; // sh
        (int exitCode, _, string error) = Shell($"OMP_NUM_THREADS=100000 {Program} train --data '{_text}' --checkpoint '{_checkpoint}'");
        Assert.Equal(ExitCode.Failure, exitCode);
        Assert.StartsWith("OMP_NUM_THREADS: 100000 threads; at most", error);
    }

    [Fact]
    public void A_deleted_working_folder_is_no_crash()
    {
        if (OperatingSystem.IsWindows()) return; // It does not delete one.
        string elsewhere = $"mkdir '{_folder}/gone' && cd '{_folder}/gone' && rmdir '{_folder}/gone' && {Program}";
        (int exitCode, _, string error) = Shell($"{elsewhere} train --data '{_text}' --steps 1 --batch-size 1 --context 16 --threads 1");
        Assert.Equal(ExitCode.Failure, exitCode);
        Assert.DoesNotContain("   at ", error);
        Assert.DoesNotContain("Unhandled", error);
        Assert.Equal(ExitCode.Success, Shell($"{elsewhere} train --data '{_text}' --steps 1 --batch-size 1 --context 16 --threads 1 --checkpoint '{_checkpoint}'").ExitCode);
    }

    [Fact]
    public void A_file_that_is_not_its_own_stops_a_run_before_it_starts()
    {
        string document = _folder.Write("thesis.txt", "years of work"), picture = _folder.Write("thesis.svg", "<svg/>");
        Refuses($"--checkpoint: {_text} would take the place of {_text}, which the run reads", _text);
        Refuses($"--checkpoint: {document} is not a checkpoint, or is damaged", document);
        Refuses($"--checkpoint: {picture}, the place of the loss curve, is not a picture of this program.", _folder.File("thesis.safetensors"));

        Run(Training("--steps", "1"));
        byte[] checkpoint = File.ReadAllBytes(_checkpoint);
        string previous = _folder.Write("run.previous.safetensors", "a document");
        Refuses($"--checkpoint: {previous} is not a checkpoint, or is damaged", _checkpoint);
        Assert.Equal(checkpoint, File.ReadAllBytes(_checkpoint));
        Assert.Equal(("years of work", "<svg/>", "a document"), (File.ReadAllText(document), File.ReadAllText(picture), File.ReadAllText(previous)));
        Assert.Equal(6, Directory.GetFiles(_folder.ToString()).Length);

        void Refuses(string message, string path)
        {
            var error = new StringWriter();
            Assert.Equal(ExitCode.Failure, Application.Run(Training("--steps", "1", "--checkpoint", path), TextWriter.Null, error));
            Assert.Contains(message, error.ToString());
        }
    }

    [Fact]
    public void Weights_are_exported_read_and_trained_on()
    {
        string tokens = _folder.File("tokens"), exported = _folder.File("exported");
        Run("tokenizer", "train", "--data", _text, "--size", "300", "--output", tokens);
        string vocabulary = Path.Combine(tokens, "vocab.json"), merges = Path.Combine(tokens, "merges.txt");
        Run([.. Training("--steps", "1"), "--vocab", vocabulary, "--merges", merges]);
        Run("export", "--threads", "1", "--checkpoint", _checkpoint, "--output", exported);
        string[] generate = ["generate", "--threads", "1", "--prompt", "12 ", "--tokens", "20", "--temperature", "0"];
        Assert.Equal(Run([.. generate, "--checkpoint", _checkpoint]), Run([.. generate, "--weights", exported]));

        string tuned = _folder.File("tuned.safetensors");
        Assert.Contains(exported, Run("train", "--weights", exported, "--data", _text, "--steps", "1", "--batch-size", "1", "--context", "8", "--threads", "1", "--checkpoint", tuned));
        Assert.Contains("context 8", Run("train", "--resume", "--steps", "2", "--threads", "1", "--checkpoint", tuned));
        Refuses("positions", "train", "--weights", exported, "--data", _text, "--context", "99", "--threads", "1", "--checkpoint", tuned);
        Refuses("exists", "export", "--threads", "1", "--checkpoint", _checkpoint, "--output", exported);
        Refuses("exists", "tokenizer", "train", "--data", _text, "--output", tokens);
        Refuses("--weights and --checkpoint exclude each other", "generate", "--weights", exported, "--checkpoint", _checkpoint);
        Refuses("--preset cannot be given with --weights", "train", "--weights", exported, "--preset", "nano");
        Refuses("--vocab and --merges go with --weights", "generate", "--vocab", vocabulary, "--merges", merges);

        void Refuses(string message, params string[] arguments)
        {
            var error = new StringWriter();
            Assert.Equal(ExitCode.Failure, Application.Run(arguments, TextWriter.Null, error));
            Assert.Contains(message, error.ToString());
        }
    }

    [Fact]
    public void Tokens_made_once_are_trained_on_resumed_and_evaluated()
    {
        string tokens = _folder.File("text.tokens"), text = _folder.Write("documents.txt", string.Join("<|endoftext|>", Enumerable.Range(0, 40).Select(i => $"document {i} of forty, ")));
        Assert.Contains("40 documents (2 for validation)", Run("tokenizer", "encode", "--data", text, "--output", tokens));
        string[] train = ["train", "--tokens", tokens, "--batch-size", "1", "--context", "16", "--threads", "1", "--steps"];
        Run([.. train, "4", "--checkpoint", _checkpoint]);
        string stopped = _folder.File("stopped.safetensors");
        Run([.. train, "2", "--checkpoint", stopped]);
        Assert.Contains("step      4/4", Run("train", "--resume", "--steps", "4", "--threads", "1", "--checkpoint", stopped));

        // The validation part by default, or a text.
        string[] evaluate = ["evaluate", "--threads", "1", "--checkpoint", _checkpoint];
        Assert.StartsWith("perplexity ", Run(evaluate));
        Assert.Contains("43 tokens", Run([.. evaluate, "--attention", "naive", "--stride", "1"]));
        Assert.Contains("29 tokens", Run([.. evaluate, "--data", _folder.Write("short.txt", new string('a', 30))]));
        var error = new StringWriter();
        Assert.Equal(ExitCode.Failure, Application.Run([.. evaluate, "--stride", "17"], TextWriter.Null, error));
        Assert.Contains("--stride 17 is more than the context, 16", error.ToString());
        Assert.Equal(ExitCode.Failure, Application.Run(["train", "--tokens", tokens, "--data", _text], TextWriter.Null, error));
        Assert.Contains("--tokens takes the place of --data", error.ToString());
    }

    [Fact]
    public void A_prompt_may_begin_with_an_at_sign()
    {
        Run(Training("--steps", "1"));
        Assert.StartsWith("@x", Run("generate", "--threads", "1", "--checkpoint", _checkpoint, "--prompt", "@x", "--tokens", "1"));
    }

    [Fact]
    public void A_run_that_diverges_says_so_and_keeps_the_old_checkpoint()
    {
        Run(Training("--steps", "1"));
        byte[] good = File.ReadAllBytes(_checkpoint);
        var error = new StringWriter();
        Assert.Equal(ExitCode.Failure, Application.Run(Training("--steps", "1", "--warmup", "0", "--learning-rate", "1e6"), TextWriter.Null, error));
        Assert.StartsWith("Training diverged at step 1: ", error.ToString());
        Assert.Equal(good, File.ReadAllBytes(_checkpoint));
    }

    private static string Program => $"dotnet '{typeof(Application).Assembly.Location}'";

    private string EndlessTraining => $"{Program} {string.Join(' ', Training("--steps", "1000000").Select(argument => $"'{argument}'"))}";

    private string[] Training(params string[] options)
    {
        string[] common = ["--data", _text, "--batch-size", "1", "--context", "16", "--threads", "1"];
        string[] place = options.Contains("--checkpoint") ? [] : ["--checkpoint", _checkpoint];
        return ["train", .. common, .. place, .. options];
    }

    private void SavedInTheMiddle()
    {
        using Checkpoint checkpoint = Checkpoint.Open(_checkpoint);
        Assert.InRange(checkpoint.State.Step, 1, 999_999);
    }

    private static Process StartShell(string command) =>
        Process.Start(new ProcessStartInfo("sh", ["-c", command]) { RedirectStandardOutput = true, RedirectStandardError = true })!;

    private static (int ExitCode, string Output, string Error) Shell(string command)
    {
        using Process process = StartShell(command);
        Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(TimeSpan.FromSeconds(120)))
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException(command);
        }

        return (process.ExitCode, output.Result, error.Result);
    }

    private static string Run(params string[] arguments)
    {
        StringWriter output = new(), error = new();
        Assert.True(Application.Run(arguments, output, error) == ExitCode.Success, error.ToString());
        return output.ToString();
    }
}
