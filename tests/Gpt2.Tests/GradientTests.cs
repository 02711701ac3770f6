using TorchSharp;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace Gpt2.Tests;

/// <summary>The gradient of the whole model's loss with respect to every parameter.</summary>
public class GradientTests(ITestOutputHelper output)
{
    private static readonly GptConfig Small = new(Layers: 2, Heads: 3, Width: 24, Context: 11, VocabularySize: 40);

    /// <summary>dL/dp . u by backward against (L(p + e u) - L(p - e u)) / 2e, in float64 and through the fused passes.</summary>
    [Theory]
    [InlineData(0.0)]
    [InlineData(0.2)]
    public void Every_gradient_is_the_slope_of_the_loss(double dropout)
    {
        using DisposeScope scope = NewDisposeScope();
        random.manual_seed(3);
        using var model = new GptModel(Small with { Dropout = dropout }, AttentionKind.Flash);
        model.to(ScalarType.Float64);
        using (no_grad())
        {
            // Far from the start, where biases are 0 and attention is nearly uniform.
            foreach (var parameter in model.parameters()) parameter.add_(randn_like(parameter) * 0.2);
        }

        (Tensor tokens, Tensor targets) = Batch(Small);
        Tensor Loss()
        {
            random.manual_seed(77); // the same dropout every time
            return model.Loss(tokens, targets);
        }

        Loss().backward();
        int checkedParameters = 0;
        foreach ((string name, var parameter) in model.named_parameters())
        {
            using DisposeScope inner = NewDisposeScope();
            using var noGradient = no_grad();
            Tensor direction = randn_like(parameter);
            direction /= direction.norm();
            double slope = (parameter.grad! * direction).sum().item<double>();

            const double Step = 1e-4;
            Tensor start = parameter.clone();
            double Along(double step)
            {
                parameter.copy_(start + (direction * step));
                return Loss().item<double>();
            }

            // Of fourth order: (8 (L(e) - L(-e)) - (L(2e) - L(-2e))) / 12e
            double difference = ((8 * (Along(Step) - Along(-Step))) - (Along(2 * Step) - Along(-2 * Step))) / (12 * Step);
            parameter.copy_(start);
            Assert.True(Math.Abs(slope - difference) <= 1e-9 + (1e-7 * Math.Abs(slope)), $"{name}: {slope} by backward, {difference} by differences");
            Assert.True(Math.Abs(slope) > 1e-8, $"{name}: a slope of {slope} tells nothing");
            checkedParameters++;
        }

        Assert.Equal((2 * 12) + 4, checkedParameters);
    }

    [Theory]
    [InlineData(ScalarType.Float64, 1e-12)]
    [InlineData(ScalarType.Float32, 1e-4)]
    public void Flash_has_the_gradients_of_naive_attention(ScalarType type, double tolerance) => Compare(Small, type, tolerance);

    [LargeFact]
    public void Flash_has_all_148_gradients_of_naive_attention_in_gpt2() =>
        Assert.Equal(148, Compare(Preset.Named("gpt2").Config(GptConfig.Gpt2VocabularySize) with { Context = 128 }, ScalarType.Float32, 1e-4));

    // The number of parameters. Of each, |flash - naive| / |naive| in the 2-norm.
    private int Compare(GptConfig config, ScalarType type, double tolerance)
    {
        using DisposeScope scope = NewDisposeScope();
        (Tensor tokens, Tensor targets) = Batch(config);
        List<(string Name, Tensor Gradient)> Gradients(AttentionKind kind)
        {
            random.manual_seed(3);
            using var model = new GptModel(config, kind);
            model.to(type);
            model.Loss(tokens, targets).backward();
            return [.. model.named_parameters().Select(p => (p.name, p.parameter.grad!.clone()))];
        }

        List<(string Name, Tensor Gradient)> flash = Gradients(AttentionKind.Flash), naive = Gradients(AttentionKind.Naive);
        double worst = 0;
        foreach (((string name, Tensor a), (_, Tensor b)) in flash.Zip(naive))
        {
            double error = ((a - b).norm() / b.norm()).to(ScalarType.Float64).item<double>();
            worst = Math.Max(worst, error);
            Assert.True(error <= tolerance, $"{name}: {error}");
        }

        output.WriteLine($"{flash.Count} gradients, largest relative difference {worst:E1}");
        return flash.Count;
    }

    private static (Tensor Tokens, Tensor Targets) Batch(GptConfig config)
    {
        var generator = new Random(5);
        long[] Ids() => [.. Enumerable.Range(0, 2 * config.Context).Select(_ => (long)generator.Next(config.VocabularySize))];
        return (TinyRun.Tokens(2, Ids()), TinyRun.Tokens(2, Ids()));
    }
}

/// <summary>A test of minutes and gigabytes: it runs where TORCHFLASH_LARGE_TESTS is set.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class LargeFactAttribute : FactAttribute
{
    /// <summary>Skips it elsewhere.</summary>
    public LargeFactAttribute()
    {
        if (Environment.GetEnvironmentVariable("TORCHFLASH_LARGE_TESTS") is not { Length: > 0 }) Skip = "set TORCHFLASH_LARGE_TESTS to run it";
    }
}
