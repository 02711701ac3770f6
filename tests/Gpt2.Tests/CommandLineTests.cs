using Gpt2.Cli;

namespace Gpt2.Tests;

public class CommandLineTests
{
    [Theory]
    [InlineData("train --preset huge", "--preset must be one of nano, micro, gpt2", "but is huge")]
    [InlineData("train --attention fast", "--attention must be one of flash, sdpa, naive, but is fast")]
    [InlineData("train --device tpu", "--device must be cpu, cuda or cuda:N, but is tpu")]
    [InlineData("train --device cuda:99", "--device cuda:99: libtorch", "CUDA device")]
    [InlineData("generate --device cuda:-1", "--device must be cpu, cuda or cuda:N, but is cuda:-1")]
    [InlineData("train --steps 0", "--steps must be a whole number, at least 1, but is 0")]
    [InlineData("train --steps many", "--steps must be a whole number, at least 1, but is many")]
    [InlineData("train --batch-size -1", "--batch-size must be")]
    [InlineData("train --accumulate 0", "--accumulate must be")]
    [InlineData("train --context 0", "--context must be")]
    [InlineData("train --learning-rate 0", "--learning-rate must be")]
    [InlineData("train --learning-rate NaN", "--learning-rate must be")]
    [InlineData("train --warmup -1", "--warmup must be")]
    [InlineData("train --weight-decay -0.1", "--weight-decay must be")]
    [InlineData("train --clip -1", "--clip must be")]
    [InlineData("train --dropout 1", "--dropout must be a number, at least 0 and less than 1, but is 1")]
    [InlineData("train --validate-every 0", "--validate-every must be")]
    [InlineData("train --save-every 0", "--save-every must be")]
    [InlineData("train --checkpoint curve.SVG", "--checkpoint: 'curve.SVG' has the extension of the loss curve")]
    [InlineData("train --data missing.txt", "--data: there is no file 'missing.txt'")]
    [InlineData("train --vocab missing.json --merges missing.txt", "--vocab: there is no file 'missing.json'")]
    [InlineData("train --resume --preset micro --seed 3", "--preset cannot be given with --resume", "--seed cannot be given with --resume")]
    [InlineData("train --resume --checkpoint missing.safetensors", "--checkpoint: there is no file", "missing.safetensors")]
    [InlineData("generate --checkpoint missing.safetensors", "--checkpoint: there is no file", "missing.safetensors")]
    [InlineData("train --checkpoint ", "--checkpoint")]
    [InlineData("generate --checkpoint ", "--checkpoint")]
    [InlineData("train --data ", "--data")]
    [InlineData("train --threads 100000", "--threads must be a whole number, 1 to", "but is 100000")]
    [InlineData("generate --tokens 0", "--tokens must be")]
    [InlineData("generate --temperature -1", "--temperature must be")]
    [InlineData("generate --top-k -1", "--top-k must be")]
    [InlineData("generate --top-p 0", "--top-p must be a number above 0, at most 1, but is 0")]
    [InlineData("generate --top-p 1.1", "--top-p must be")]
    [InlineData("info --checkpoint missing.safetensors", "--checkpoint: there is no file")]
    [InlineData("paint", "paint")]
    public void Wrong_options_are_refused_by_name(string commandLine, params string[] messages)
    {
        var error = new StringWriter();
        Assert.Equal(ExitCode.Failure, Application.Run(commandLine.Split(' '), TextWriter.Null, error));
        Assert.All(messages, message => Assert.Contains(message, error.ToString()));
    }

    [Fact]
    public void A_checkpoint_that_cannot_be_written_is_refused_before_the_text_is_read()
    {
        using var folder = new TemporaryFolder();
        string text = folder.Write("text.txt", "too short to train on");
        Refuses($"{folder}", $"--checkpoint: {folder} is a folder");
        Refuses(folder.File("new/"), "is a folder");
        Refuses(Path.Combine(text, "run.safetensors"), "--checkpoint: ");
        Assert.Equal([text], Directory.GetFileSystemEntries(folder.ToString()));

        void Refuses(string checkpoint, string message)
        {
            var error = new StringWriter();
            Assert.Equal(ExitCode.Failure, Application.Run(["train", "--threads", "1", "--data", text, "--checkpoint", checkpoint], TextWriter.Null, error));
            Assert.StartsWith("--checkpoint: ", error.ToString());
            Assert.Contains(message, error.ToString());
        }
    }

    [Fact]
    public void Vocabulary_and_merges_belong_together()
    {
        using var folder = new TemporaryFolder();
        var error = new StringWriter();
        Assert.Equal(ExitCode.Failure, Application.Run(["train", "--vocab", folder.Write("vocab.json", "{}")], TextWriter.Null, error));
        Assert.Contains("--vocab and --merges belong together", error.ToString());
    }
}
