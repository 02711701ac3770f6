
namespace Gpt2.Tests;

public class ScheduleTests
{
    private static readonly CosineSchedule Schedule = new(Peak: 1e-3, Minimum: 1e-4, WarmupSteps: 10, Steps: 110);

    [Theory]
    [InlineData(0, 1e-4)]
    [InlineData(4, 5e-4)]
    [InlineData(9, 1e-3)]
    [InlineData(10, 1e-3)]
    [InlineData(35, 8.6819805153394641e-4)] // 1e-4 + 9e-4 (1 + cos(pi/4)) / 2
    [InlineData(60, 5.5e-4)]
    [InlineData(110, 1e-4)]
    [InlineData(5000, 1e-4)]
    public void Rises_linearly_and_falls_as_a_cosine(int step, double rate) => Assert.Equal(rate, Schedule.LearningRate(step), 12);

    [Fact]
    public void Without_warmup_starts_at_the_peak()
    {
        Assert.Equal(1, new CosineSchedule(1, 0, 0, 10).LearningRate(0));
        Assert.Equal(1, new CosineSchedule(1, 0, 5, 5).LearningRate(4));
    }

    [Fact]
    public void Random_generator_is_splitmix64()
    {
        // First outputs for the seed 1234567 as published with the algorithm's reference code.
        var random = new SplitMix64(1234567);
        Assert.Equal(
            [6457827717110365317UL, 3203168211198807973UL, 9817491932198370423UL, 4593380528125082431UL],
            Enumerable.Range(0, 4).Select(_ => random.NextUInt64()));
    }

    [Fact]
    public void Random_generator_continues_from_its_state()
    {
        var random = new SplitMix64(7);
        random.NextUInt64();
        var copy = new SplitMix64(random.State);
        Assert.Equal(random.NextUInt64(), copy.NextUInt64());
        Assert.All(Enumerable.Range(0, 1000), _ => Assert.InRange(random.Next(3), 0, 2));
        Assert.All(Enumerable.Range(0, 1000), _ => Assert.InRange(random.NextDouble(), 0, 1 - 1e-16));
    }
}
