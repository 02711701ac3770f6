using TorchSharp;
using static TorchSharp.torch;

namespace Gpt2.Tests;

public class TrainingTests
{
    [Fact]
    public void Flash_and_naive_attention_train_alike()
    {
        using Trainer flash = TinyRun.Trainer(AttentionKind.Flash);
        using Trainer naive = TinyRun.Trainer(AttentionKind.Naive);
        double[] flashLosses = TrainSeeded(flash), naiveLosses = TrainSeeded(naive);

        Assert.All(flashLosses.Zip(naiveLosses), pair => Assert.Equal(pair.Second, pair.First, 2e-5));
        Assert.True(flashLosses[^1] < flashLosses[0] - 1, $"{flashLosses[0]} -> {flashLosses[^1]}");

        double[] TrainSeeded(Trainer trainer) => TinyRun.Train(trainer, trainer.Options.Steps);
    }

    [Fact]
    public void Equal_seeds_train_bitwise_alike()
    {
        using Trainer first = TinyRun.Trainer();
        double[] firstLosses = TinyRun.Train(first, 5);
        using Trainer second = TinyRun.Trainer();
        Assert.Equal(firstLosses, TinyRun.Train(second, 5));
        using Trainer other = TinyRun.Trainer(options: TinyRun.Options with { Seed = 43 });
        Assert.NotEqual(firstLosses, TinyRun.Train(other, 5));
    }

    [Fact]
    public void Accumulated_gradients_equal_the_big_batch()
    {
        using DisposeScope scope = NewDisposeScope();
        using Trainer big = TinyRun.Trainer(options: TinyRun.Options with { BatchSize = 6 });
        using Trainer accumulated = TinyRun.Trainer(options: TinyRun.Options with { BatchSize = 2, Accumulation = 3 });
        StepResult expected = big.TrainStep(), actual = accumulated.TrainStep();

        Assert.Equal(expected.Loss, actual.Loss, 1e-6);
        Assert.Equal(expected.GradientNorm, actual.GradientNorm, 1e-5);
        foreach (var (a, b) in big.Model.parameters().Zip(accumulated.Model.parameters()))
            Assert.True(a.grad!.allclose(b.grad!, 1e-4, 1e-7));
    }

    [Fact]
    public void Gradients_are_clipped_to_the_given_norm()
    {
        using DisposeScope scope = NewDisposeScope();
        using Trainer trainer = TinyRun.Trainer(options: TinyRun.Options with { GradientClip = 0.01 });
        Assert.True(trainer.TrainStep().GradientNorm > 0.1);
        Assert.Equal(0.01, GradientNorm(trainer), 1e-5);

        using Trainer free = TinyRun.Trainer(options: TinyRun.Options with { GradientClip = 0 });
        Assert.Equal(free.TrainStep().GradientNorm, GradientNorm(free), 1e-4);

        static double GradientNorm(Trainer trainer) =>
            Math.Sqrt(trainer.Model.parameters().Sum(p => (double)(p.grad! * p.grad!).sum().item<float>()));
    }

    [Fact]
    public void Matrices_decay_and_vectors_do_not()
    {
        using Trainer trainer = TinyRun.Trainer();
        Assert.All(trainer.Decayed, p => Assert.True(p.Name.EndsWith("weight", StringComparison.Ordinal) && p.Parameter.dim() == 2));
        Assert.All(trainer.Undecayed, p => Assert.True(
            p.Name.EndsWith("bias", StringComparison.Ordinal) || p.Name.Contains("ln_", StringComparison.Ordinal)));
        Assert.Equal(trainer.Model.named_parameters().Count(), trainer.Decayed.Count + trainer.Undecayed.Count);

        // Two embeddings and four matrices a layer; six biases or norms of two values a layer, and the last norm.
        Assert.Equal((2 + (4 * 2), (8 * 2) + 2), (trainer.Decayed.Count, trainer.Undecayed.Count));
    }

    [Fact]
    public void Decay_is_the_only_difference_it_makes()
    {
        // The first update of AdamW is the gradient's sign times the rate, whatever decays before it: p <- p (1 - rate decay).
        using DisposeScope scope = NewDisposeScope();
        using Trainer plain = TinyRun.Trainer(options: TinyRun.Options with { WeightDecay = 0 });
        var start = plain.Model.named_parameters().ToDictionary(p => p.name, p => p.parameter.detach().clone());
        using Trainer decayed = TinyRun.Trainer(options: TinyRun.Options with { WeightDecay = 0.5 });
        double rate = plain.TrainStep().LearningRate;
        decayed.TrainStep();

        var plainEnd = plain.Model.named_parameters().ToDictionary(p => p.name, p => p.parameter.detach());
        foreach ((string name, var parameter) in decayed.Model.named_parameters())
        {
            double factor = parameter.dim() >= 2 ? rate * 0.5 : 0;
            Assert.True(parameter.detach().allclose(plainEnd[name] - (start[name] * factor), 0, 1e-7), name);
        }
    }

    [Fact]
    public void The_learning_rate_follows_the_schedule()
    {
        using Trainer trainer = TinyRun.Trainer();
        CosineSchedule schedule = trainer.Options.Schedule;
        for (int step = 0; step < 6; step++) Assert.Equal(schedule.LearningRate(step), trainer.TrainStep().LearningRate);
    }

    [Fact]
    public void Validation_repeats_and_does_not_change_the_run()
    {
        GptConfig config = TinyRun.Config with { Dropout = 0.1 };
        using Trainer plain = TinyRun.Trainer(config: config);
        double[] losses = TinyRun.Train(plain, 4);

        using Trainer validated = TinyRun.Trainer(config: config);
        Assert.Equal(validated.Validate(), validated.Validate());
        Assert.Equal(losses, Enumerable.Range(0, 4).Select(_ =>
        {
            double loss = validated.TrainStep().Loss;
            validated.Validate();
            return loss;
        }));
    }

    [Fact]
    public void A_diverged_run_stops_before_the_update()
    {
        using Trainer trainer = TinyRun.Trainer();
        using (no_grad()) trainer.Decayed[0].Parameter.fill_(float.NaN);
        string message = Assert.Throws<UserException>(() => trainer.TrainStep()).Message;
        Assert.Contains("diverged at step 1", message);
        Assert.Contains("--learning-rate", message);
        Assert.Equal(0, trainer.Step);
        Assert.Contains("diverged at step 0: validation loss NaN", Assert.Throws<UserException>(() => trainer.Validate()).Message);
        Assert.Empty(trainer.History.Validation);
    }

    [Theory]
    [InlineData(1_000_000_000)]
    [InlineData(int.MaxValue)]
    public void A_batch_beyond_the_memory_is_refused(int size)
    {
        string message = Assert.Throws<UserException>(() => TinyRun.Trainer(options: TinyRun.Options with { BatchSize = size })).Message;
        Assert.Contains($"--batch-size {size}", message);
        Assert.Contains("GB of memory", message);
    }

    [Fact]
    public void Impossible_settings_are_refused_by_name()
    {
        TrainingOptions good = TinyRun.Options;
        TrainingOptions[] wrong =
        [
            good with { Steps = 0 }, good with { BatchSize = -1 }, good with { Accumulation = 0 }, good with { WarmupSteps = -1 }, good with { LearningRate = double.NaN },
            good with { FinalLearningRateShare = 2 }, good with { WeightDecay = -1 }, good with { Beta1 = 1 }, good with { Beta2 = -0.1 }, good with { GradientClip = double.PositiveInfinity }, good with { ValidationWindows = 0 },
        ];
        foreach (TrainingOptions options in wrong)
            Assert.NotNull(Assert.ThrowsAny<ArgumentException>(() => TinyRun.Trainer(options: options)).ParamName);
    }

    [Fact]
    public void A_text_shorter_than_a_sequence_is_refused()
    {
        string message = Assert.Throws<UserException>(() => TinyRun.Trainer(config: TinyRun.Config with { Context = 100_000 })).Message;
        Assert.Contains("--context 100000", message);
    }

    [Fact]
    public void Steps_leave_no_tensors_behind()
    {
        using Trainer trainer = TinyRun.Trainer();
        TinyRun.Train(trainer, 3);
        trainer.Validate();
        long Living() => Tensor.TotalCount;

        // What earlier tests have left to the finaliser must not go in between.
        GC.Collect();
        GC.WaitForPendingFinalizers();
        long before = Living();
        TinyRun.Train(trainer, 10);
        trainer.Validate();
        Assert.Equal(before, Living());
    }
}
