using Gpt2.Text;
using static TorchSharp.torch;

namespace Gpt2.Tests;

/// <summary>A model, a text and settings small enough to train in a test.</summary>
internal static class TinyRun
{
    internal static GptConfig Config { get; } = new(Layers: 2, Heads: 2, Width: 32, Context: 16, VocabularySize: 256);

    internal static TrainingOptions Options { get; } = new()
    {
        Steps = 20,
        BatchSize = 4,
        LearningRate = 3e-3,
        WarmupSteps = 4,
        ValidationWindows = 6,
        Seed = 42,
    };

    internal static Corpus Corpus { get; } = Corpus.FromDocuments([Text()], new ByteTokenizer(), "tiny text");

    internal static CorpusDescription Description { get; } = new([], Corpus.Name, Corpus.Fingerprint, new TokenizerDescription(ByteTokenizer.Kind));

    internal static Trainer Trainer(AttentionKind attention = AttentionKind.Flash, TrainingOptions? options = null, GptConfig? config = null) =>
        new(config ?? Config, options ?? Options, Corpus, attention);

    /// <summary>Token ids as a (rows, columns) tensor.</summary>
    internal static Tensor Tokens(int rows, params long[] ids) => tensor(ids, [rows, ids.Length / rows]);

    internal static double[] Train(Trainer trainer, int steps) => [.. Enumerable.Range(0, steps).Select(_ => trainer.TrainStep().Loss)];

    private static string Text()
    {
        string[] words = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "another", "rat"];
        var random = new Random(3);
        return string.Join(' ', random.GetItems(words, 3000));
    }
}
