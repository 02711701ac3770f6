using System.Text;
using Gpt2.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Gpt2.Tests;

public class TextGeneratorTests
{
    [Fact]
    public void Equal_seeds_write_equal_texts_beyond_the_context()
    {
        using GptModel model = Model();
        string Write(long seed) => string.Concat(
            TextGenerator.Continue(model, new ByteTokenizer(), "the cat", 3 * model.Config.Context, new TokenSampler(1, 20, seed)));
        Assert.Equal(Write(1), Write(1));
        Assert.NotEqual(Write(1), Write(2));
    }

    [Fact]
    public void Top_one_is_the_greedy_text()
    {
        using GptModel model = Model();
        string Write(double temperature, int topK) => string.Concat(
            TextGenerator.Continue(model, new ByteTokenizer(), "x", 20, new TokenSampler(temperature, topK, 9)));
        Assert.Equal(Write(0, 0), Write(3, 1));
    }

    [Fact]
    public void An_empty_prompt_and_any_bytes_give_whole_characters()
    {
        // An untrained model writes random bytes: what is no UTF-8 becomes U+FFFD, and no half character is given out.
        using GptModel model = Model();
        string[] pieces = [.. TextGenerator.Continue(model, new ByteTokenizer(), "", 100, new TokenSampler(5, 0, 4))];
        Assert.DoesNotContain("", pieces);
        Assert.All(pieces, piece => Assert.Equal(piece, Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(piece))));
        Assert.Contains('\uFFFD', string.Concat(pieces));
    }

    [Fact]
    public void Tokens_leave_no_tensors_behind()
    {
        using GptModel model = Model();
        IEnumerable<string> Write() => TextGenerator.Continue(model, new ByteTokenizer(), "a", 10, new TokenSampler(1, 0, 4)).ToArray();
        Write();
        long before = Tensor.TotalCount;
        Write();
        Assert.Equal(before, Tensor.TotalCount);
    }

    private static GptModel Model()
    {
        random.manual_seed(8);
        return new GptModel(TinyRun.Config, AttentionKind.Flash);
    }
}
