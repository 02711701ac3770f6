using System.Buffers.Binary;
using Gpt2.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Gpt2.Tests;

public sealed class CheckpointTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    private string CheckpointPath => _folder.File("run.safetensors");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(0.0)]
    [InlineData(0.1)]
    public void A_resumed_run_is_bitwise_the_uninterrupted_one(double dropout)
    {
        using DisposeScope scope = NewDisposeScope();
        GptConfig config = TinyRun.Config with { Dropout = dropout };
        TrainingOptions options = TinyRun.Options with { Accumulation = 2 };
        using Trainer whole = TinyRun.Trainer(options: options, config: config);
        TinyRun.Train(whole, 4);
        whole.Validate();
        Checkpoint.Save(CheckpointPath, whole, TinyRun.Description, AttentionKind.Flash);
        TinyRun.Train(whole, 6);
        string wholePath = _folder.File("whole.safetensors");
        Checkpoint.Save(wholePath, whole, TinyRun.Description, AttentionKind.Flash);

        random.manual_seed(999);
        using Checkpoint checkpoint = Checkpoint.Open(CheckpointPath);
        using Trainer resumed = checkpoint.Resume(TinyRun.Corpus, checkpoint.State.Options, AttentionKind.Flash);
        Assert.Equal(4, resumed.Step);
        TinyRun.Train(resumed, 6);
        string resumedPath = _folder.File("resumed.safetensors");
        Checkpoint.Save(resumedPath, resumed, TinyRun.Description, AttentionKind.Flash);

        // Weights, moments, step counts, both random generators and all losses are in the file.
        Assert.True(File.ReadAllBytes(wholePath).AsSpan().SequenceEqual(File.ReadAllBytes(resumedPath)));
    }

    [Fact]
    public void A_loaded_model_predicts_as_the_saved_one()
    {
        using DisposeScope scope = NewDisposeScope();
        using Trainer trainer = SaveShortRun();
        using Checkpoint checkpoint = Checkpoint.Open(CheckpointPath);
        using GptModel model = checkpoint.LoadModel(AttentionKind.Flash);
        model.eval();
        trainer.Model.eval();
        Tensor tokens = TinyRun.Tokens(1, 10, 20, 30);
        Assert.Equal(trainer.Model.call(tokens).data<float>().ToArray(), model.call(tokens).data<float>().ToArray());
        Assert.Equal(TinyRun.Config, checkpoint.State.Config);
        Assert.Equal(TinyRun.Options, checkpoint.State.Options);
    }

    [Fact]
    public void Another_text_is_refused()
    {
        SaveShortRun().Dispose();
        using Checkpoint checkpoint = Checkpoint.Open(CheckpointPath);
        Corpus other = Corpus.FromDocuments([new string('x', 2000)], new ByteTokenizer(), "other text");
        string message = Assert.Throws<UserException>(() => checkpoint.Resume(other, TinyRun.Options, AttentionKind.Flash)).Message;
        Assert.Contains("other text", message);
        Assert.Contains("tiny text", message);
    }

    [Fact]
    public void Foreign_files_are_refused()
    {
        Assert.Contains("is not a checkpoint, or is damaged", Refusal("PK\u0003\u0004 some zip archive, long enough to have a header"u8.ToArray()));
        Assert.Contains("is not a checkpoint, or is damaged", Refusal([.. Header("[1,2]"), 1]));
        Assert.Contains("is described wrongly", Refusal([.. Header("""{"a":{"dtype":"F9","shape":[1],"data_offsets":[0,4]}}"""), 0, 0, 0, 0]));
        Assert.Contains("does not fit its shape", Refusal([.. Header("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"""), 0, 0, 0, 0]));
        Assert.Contains("is not a checkpoint of this program", Refusal([.. Header("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"""), 0, 0, 0, 0]));
    }

    [Fact]
    public void A_tensor_that_does_not_fit_is_refused_by_name()
    {
        using DisposeScope scope = NewDisposeScope();
        string path = _folder.File("tensors");
        using (FileStream stream = File.Create(path)) TensorFile.Write(stream, new Dictionary<string, string>(), [("a", ones(2, 3))]);
        using TensorFile file = TensorFile.Open(path);
        Assert.Contains("no tensor 'b'", Assert.Throws<UserException>(() => file.CopyTo("b", zeros(2, 3))).Message);
        Assert.Contains("'a' is Float32 (2, 3)", Assert.Throws<UserException>(() => file.CopyTo("a", zeros(3, 2))).Message);
        Assert.Contains("'a' is Float32 (2, 3)", Assert.Throws<UserException>(() => file.CopyTo("a", zeros(2, 3, dtype: ScalarType.Float64))).Message);
    }

    [Fact]
    public void A_ruined_model_does_not_replace_the_old_checkpoint()
    {
        using Trainer trainer = SaveShortRun();
        byte[] old = File.ReadAllBytes(CheckpointPath);
        using (no_grad()) trainer.Undecayed[0].Parameter.fill_(float.NaN);
        string message = Assert.Throws<UserException>(() => Checkpoint.Save(CheckpointPath, trainer, TinyRun.Description, AttentionKind.Flash)).Message;
        Assert.Contains($"Training diverged at step 2: '{trainer.Undecayed[0].Name}' is not finite", message);
        Assert.Equal(old, File.ReadAllBytes(CheckpointPath));
        Assert.Single(Directory.GetFiles(_folder.ToString()));
    }

    private static byte[] Header(string json)
    {
        var bytes = new byte[8 + json.Length];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, json.Length);
        System.Text.Encoding.ASCII.GetBytes(json, bytes.AsSpan(8));
        return bytes;
    }

    private string Refusal(byte[] content)
    {
        string path = _folder.File("broken");
        File.WriteAllBytes(path, content);
        return Assert.Throws<UserException>(() => Checkpoint.Open(path).Dispose()).Message;
    }

    private Trainer SaveShortRun()
    {
        Trainer trainer = TinyRun.Trainer();
        TinyRun.Train(trainer, 2);
        Checkpoint.Save(CheckpointPath, trainer, TinyRun.Description, AttentionKind.Flash);
        return trainer;
    }
}
