using Gpt2.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Gpt2.Tests;

public class EvaluationTests
{
    private static readonly TokenSequence Tokens = new([.. Enumerable.Range(0, 75).Select(i => (ushort)(i * i * 7 % 256))]);

    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(16)]
    public void Every_token_is_predicted_once_from_its_window(int stride)
    {
        using GptModel model = Model(AttentionKind.Flash);
        Evaluation result = Evaluation.Of(model, Tokens, stride);
        Assert.Equal(Tokens.Length - 1, result.Tokens);

        // Token t, in the first window [start, start + context] that has it as a target.
        int context = model.Config.Context;
        double sum = 0;
        using var noGradient = no_grad();
        for (int t = 1; t < Tokens.Length; t++)
        {
            using DisposeScope scope = NewDisposeScope();
            int start = t <= context ? 0 : (t - context + stride - 1) / stride * stride;
            long[] visible = [.. Tokens.Read(start, t - start).Select(token => (long)token)];
            Assert.InRange(visible.Length, t <= context ? 1 : context - stride + 1, context);
            sum -= model.NextTokenLogits(TinyRun.Tokens(1, visible)).log_softmax(-1)[0, Tokens.Read(t, 1)[0]].item<float>();
        }

        Assert.Equal(sum / (Tokens.Length - 1), result.Loss, 5);
        Assert.Equal(Math.Exp(result.Loss), result.Perplexity);
    }

    [Fact]
    public void Every_attention_evaluates_alike()
    {
        double[] losses = [.. Enum.GetValues<AttentionKind>().Select(kind =>
        {
            using GptModel model = Model(kind);
            return Evaluation.Of(model, Tokens, 8).Loss;
        })];
        Assert.Equal(3, losses.Length);
        Assert.All(losses, loss => Assert.Equal(losses[0], loss, 1e-4));
    }

    [Fact]
    public void Impossible_evaluations_are_refused()
    {
        using GptModel model = Model(AttentionKind.Flash);
        Assert.Throws<ArgumentOutOfRangeException>("stride", () => Evaluation.Of(model, Tokens, 0));
        Assert.Throws<ArgumentOutOfRangeException>("stride", () => Evaluation.Of(model, Tokens, 17));
        Assert.ThrowsAny<ArgumentException>(() => Evaluation.Of(model, new TokenSequence([1]), 4));
    }

    private static GptModel Model(AttentionKind attention)
    {
        random.manual_seed(8);
        return new GptModel(TinyRun.Config, attention);
    }
}
