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

    [Theory]
    [InlineData(AttentionKind.Flash)]
    [InlineData(AttentionKind.Sdpa)]
    [InlineData(AttentionKind.Naive)]
    public void With_a_cache_the_greedy_tokens_are_those_without(AttentionKind attention)
    {
        using GptModel model = Model(attention);
        int[][] prompts = [[1, 2, 3], [200], [7, 5, 9, 11, 13, 4, 8], [.. Enumerable.Range(30, 20)]];
        int count = 2 * model.Config.Context;

        // One by one, and in a batch of prompts of unequal lengths, one of them longer than the context.
        int[][] expected = [.. prompts.Select(prompt => WithoutCache(model, prompt, count))];
        Assert.True(expected.Sum(tokens => tokens.Distinct().Count()) > 5 * expected.Length, "the texts are too dull to tell");
        for (int i = 0; i < prompts.Length; i++) Assert.Equal(expected[i], Generated(model, [prompts[i]], count)[0]);
        Assert.Equal(expected, Generated(model, prompts, count));
    }

    [Fact]
    public void Cached_logits_are_those_of_a_whole_pass()
    {
        using DisposeScope scope = NewDisposeScope();
        using GptModel model = Model();
        using var noGradient = no_grad();
        model.eval();
        using var cache = new KeyValueCache(model, 1);
        Tensor whole = model.call(TinyRun.Tokens(1, 9, 8, 7, 6, 5));
        Assert.True(model.NextTokenLogits(TinyRun.Tokens(1, 9, 8), cache).allclose(whole[0, 1].view(1, -1), 1e-5, 1e-6));
        Assert.True(model.NextTokenLogits(TinyRun.Tokens(1, 7), cache).allclose(whole[0, 2].view(1, -1), 1e-5, 1e-6));
        Assert.True(model.NextTokenLogits(TinyRun.Tokens(1, 6, 5), cache).allclose(whole[0, 4].view(1, -1), 1e-5, 1e-6));
        Assert.Equal(5, cache.Length);
        Assert.Contains("more than the context", Assert.Throws<ArgumentException>(() => model.NextTokenLogits(zeros(1, 12, dtype: ScalarType.Int64), cache)).Message);
        Assert.Contains("2 sequences", Assert.Throws<ArgumentException>(() => model.NextTokenLogits(zeros(2, 1, dtype: ScalarType.Int64), cache)).Message);
        Assert.Throws<ArgumentException>("starts", () => cache.Restart([0, 0]));
    }

    [Fact]
    public void A_batch_writes_what_each_prompt_alone_does()
    {
        using GptModel model = Model();
        string[] prompts = ["the cat", "a", "another rat sat"];
        TokenSampler[] Samplers() => [.. prompts.Select((_, i) => new TokenSampler(0, 0, i))];
        ILookup<int, string> together = TextGenerator.Continue(model, new ByteTokenizer(), prompts, 30, Samplers()).ToLookup(piece => piece.Prompt, piece => piece.Text);
        for (int i = 0; i < prompts.Length; i++)
            Assert.Equal(string.Concat(TextGenerator.Continue(model, new ByteTokenizer(), prompts[i], 30, new TokenSampler(0, 0, i))), string.Concat(together[i]));
    }

    [Fact]
    public void Prompts_without_tokens_or_samplers_are_refused()
    {
        using GptModel model = Model();
        Assert.Throws<ArgumentException>("prompts", () => TextGenerator.Tokens(model, [], []));
        Assert.Throws<ArgumentException>("prompts", () => TextGenerator.Tokens(model, [[1], []], [new(0, 0, 1), new(0, 0, 1)]));
        Assert.Throws<ArgumentException>("samplers", () => TextGenerator.Tokens(model, [[1], [2]], [new(0, 0, 1)]));
    }

    private static int[] WithoutCache(GptModel model, int[] prompt, int count)
    {
        using var noGradient = no_grad();
        model.eval();
        List<long> text = [.. prompt];
        for (int i = 0; i < count; i++)
        {
            using DisposeScope scope = NewDisposeScope();
            long[] visible = [.. text.TakeLast(model.Config.Context)];
            text.Add(model.NextTokenLogits(TinyRun.Tokens(1, visible)).argmax().item<long>());
        }

        return [.. text.Skip(prompt.Length).Select(token => (int)token)];
    }

    private static int[][] Generated(GptModel model, int[][] prompts, int count)
    {
        int[][] steps = [.. TextGenerator.Tokens(model, prompts, [.. prompts.Select(_ => new TokenSampler(0, 0, 1))]).Take(count)];
        return [.. prompts.Select((_, row) => steps.Select(tokens => tokens[row]).ToArray())];
    }

    // Weights so large that the most probable token leads clearly, and is not always the same.
    private static GptModel Model(AttentionKind attention = AttentionKind.Flash)
    {
        random.manual_seed(8);
        var model = new GptModel(TinyRun.Config, attention);
        using (no_grad())
        {
            foreach ((string name, var parameter) in model.named_parameters().Where(p => p.parameter.dim() > 1)) parameter.mul_(name.Contains("wpe", StringComparison.Ordinal) ? 20 : 4);
        }

        return model;
    }
}
