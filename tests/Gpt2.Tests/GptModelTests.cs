using TorchSharp;
using static TorchSharp.torch;

namespace Gpt2.Tests;

public class GptModelTests
{
    [Theory]
    [InlineData("gpt2", 124_439_808)]
    [InlineData("gpt2-medium", 354_823_168)]
    [InlineData("gpt2-large", 774_030_080)]
    [InlineData("gpt2-xl", 1_557_611_200)]
    public void Presets_have_gpt2s_sizes(string preset, long parameters)
    {
        Assert.Equal(parameters, Preset.Named(preset).Config(GptConfig.Gpt2VocabularySize).ParameterCount);
    }

    [Fact]
    public void Predicted_size_is_the_models_size_and_names_are_gpt2s()
    {
        using DisposeScope scope = NewDisposeScope();
        GptConfig config = TinyRun.Config with { Layers = 1 };
        using var model = new GptModel(config, AttentionKind.Flash);
        var shapes = model.named_parameters().ToDictionary(p => p.name, p => string.Join("x", p.parameter.shape));

        Assert.Equal(config.ParameterCount, model.parameters().Sum(p => p.NumberOfElements));
        Assert.Equal(
            new Dictionary<string, string>
            {
                ["transformer.wte.weight"] = "256x32",
                ["transformer.wpe.weight"] = "16x32",
                ["transformer.h.0.ln_1.weight"] = "32",
                ["transformer.h.0.ln_1.bias"] = "32",
                ["transformer.h.0.attn.c_attn.weight"] = "96x32",
                ["transformer.h.0.attn.c_attn.bias"] = "96",
                ["transformer.h.0.attn.c_proj.weight"] = "32x32",
                ["transformer.h.0.attn.c_proj.bias"] = "32",
                ["transformer.h.0.ln_2.weight"] = "32",
                ["transformer.h.0.ln_2.bias"] = "32",
                ["transformer.h.0.mlp.c_fc.weight"] = "128x32",
                ["transformer.h.0.mlp.c_fc.bias"] = "128",
                ["transformer.h.0.mlp.c_proj.weight"] = "32x128",
                ["transformer.h.0.mlp.c_proj.bias"] = "32",
                ["transformer.ln_f.weight"] = "32",
                ["transformer.ln_f.bias"] = "32",
            },
            shapes);
    }

    [Fact]
    public void Initial_weights_have_gpt2s_spread()
    {
        using DisposeScope scope = NewDisposeScope();
        random.manual_seed(1);
        using var model = new GptModel(TinyRun.Config with { Layers = 8, Width = 64 }, AttentionKind.Flash);
        foreach ((string name, var parameter) in model.named_parameters())
        {
            using Tensor values = parameter.detach();
            double mean = values.mean().item<float>();
            double spread = Math.Sqrt((values * values).mean().item<float>());
            if (name.EndsWith("bias", StringComparison.Ordinal))
            {
                Assert.Equal(0, spread);
            }
            else if (name.Contains("ln_", StringComparison.Ordinal))
            {
                Assert.Equal((1.0, 1.0), (mean, spread));
            }
            else
            {
                // 0.02 / sqrt(2 * 8 layers) = 0.005. Six standard errors of a mean and of a spread.
                double expected = name.EndsWith("c_proj.weight", StringComparison.Ordinal) ? 0.005 : 0.02;
                double error = 6 * expected / Math.Sqrt(parameter.NumberOfElements);
                Assert.InRange(mean, -error, error);
                Assert.InRange(spread, expected - error, expected + error);
            }
        }
    }

    [Fact]
    public void The_head_shares_the_token_embedding()
    {
        using DisposeScope scope = NewDisposeScope();
        using var model = new GptModel(TinyRun.Config, AttentionKind.Sdpa);
        Tensor tokens = TinyRun.Tokens(1, 1, 2, 3);
        model.Loss(tokens, TinyRun.Tokens(1, 2, 3, 4)).backward();
        // Only the head can give a gradient to the embedding of a token that is neither an input nor a target.
        Tensor gradient = model.named_parameters().Single(p => p.name == "transformer.wte.weight").parameter.grad!;
        Assert.True(gradient[200].abs().sum().item<float>() > 0);
    }

    [Theory]
    [InlineData(AttentionKind.Sdpa)]
    [InlineData(AttentionKind.Naive)]
    public void Every_attention_computes_the_same_function(AttentionKind other)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor Logits(AttentionKind kind)
        {
            random.manual_seed(5);
            var model = new GptModel(TinyRun.Config, kind);
            model.eval();
            return model.call(TinyRun.Tokens(2, [.. Enumerable.Range(0, 26).Select(i => (i * 37L) % 256)]));
        }

        Assert.True(Logits(AttentionKind.Flash).allclose(Logits(other), 1e-5, 1e-6));
    }

    [Fact]
    public void A_token_does_not_see_later_ones()
    {
        using DisposeScope scope = NewDisposeScope();
        using var model = new GptModel(TinyRun.Config, AttentionKind.Flash);
        model.eval();
        Tensor before = model.call(TinyRun.Tokens(1, 1, 2, 3, 4))[0, 1];
        Tensor after = model.call(TinyRun.Tokens(1, 1, 2, 99, 98))[0, 1];
        Assert.True(before.allclose(after, 0, 1e-7));
    }

    [Fact]
    public void The_next_tokens_logits_are_the_last_positions()
    {
        using DisposeScope scope = NewDisposeScope();
        using var model = new GptModel(TinyRun.Config, AttentionKind.Flash);
        model.eval();
        Tensor tokens = TinyRun.Tokens(1, 5, 6, 7);
        Assert.True(model.NextTokenLogits(tokens)[0].allclose(model.call(tokens)[0, 2], 1e-5, 1e-6));
    }

    [Theory]
    [InlineData(-3)]
    [InlineData(-0.5)]
    [InlineData(0)]
    [InlineData(0.1)]
    [InlineData(2)]
    public void Gelu_is_the_tanh_form(double x)
    {
        using DisposeScope scope = NewDisposeScope();
        double expected = 0.5 * x * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + (0.044715 * x * x * x))));
        Assert.Equal(expected, FeedForward.Gelu(tensor(x, dtype: ScalarType.Float64)).item<double>(), 14);
    }

    [Fact]
    public void Impossible_shapes_are_refused()
    {
        Assert.Contains("not a multiple", Assert.Throws<ArgumentException>(() => new GptModel(TinyRun.Config with { Heads = 3 }, AttentionKind.Flash)).Message);
        Assert.Throws<ArgumentOutOfRangeException>("Layers", () => (TinyRun.Config with { Layers = 0 }).Validate());
        Assert.Throws<ArgumentOutOfRangeException>("Dropout", () => (TinyRun.Config with { Dropout = 1 }).Validate());
        Assert.Contains("nano", Assert.Throws<ArgumentException>(() => Preset.Named("huge")).Message);
    }
}
