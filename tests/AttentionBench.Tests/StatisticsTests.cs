using AttentionBench.Measuring;

namespace AttentionBench.Tests;

public class StatisticsTests
{
    [Fact]
    public void QuartilesAreInterpolatedBetweenNeighbours() => Assert.Equal(new Spread(2.5, 1.75, 3.25), Spread.Of([4, 1, 3, 2]));

    [Fact]
    public void OneValueHasNoSpread() => Assert.Equal(new Spread(7, 7, 7), Spread.Of([7]));

    [Fact]
    public void NoValueIsRefused() => Assert.Throws<ArgumentException>(() => Spread.Of([]));

    /// <summary>The ratio of medians would be 3; paired, a slow round is slow for both.</summary>
    [Fact]
    public void RatiosAreOfTheSameRound() => Assert.Equal(new Spread(2, 2, 2), Spread.OfRatios([2, 6, 20], [1, 3, 10]));

    [Fact]
    public void RatiosOfDifferentNumbersOfRoundsAreRefused() => Assert.Throws<ArgumentException>(() => Spread.OfRatios([1, 2], [1]));

    [Fact]
    public void AReciprocalExchangesTheQuartiles() => Assert.Equal(new Spread(0.5, 0.25, 1), new Spread(2, 1, 4).Reciprocal);

    [Fact]
    public void EverybodyTakesATurnInEveryRoundAndNobodyIsAlwaysFirst()
    {
        var order = new List<int>();
        double[][] seconds = Measure.InTurn(_ => 4, 0, Of(0), Of(1), Of(2));
        Assert.Equal([0, 1, 2, 1, 2, 0, 2, 0, 1, 0, 1, 2], order.TakeLast(12));
        Assert.All(seconds, s => Assert.Equal(4, s.Length));
        Assert.Equal([1, 2, 3], seconds.Select(s => s[0]));

        Func<double> Of(int contestant) => () =>
        {
            order.Add(contestant);
            return contestant + 1;
        };
    }

    [Fact]
    public void WhatIsShortIsRepeatedInItsTurnAndCountedOnce()
    {
        int calls = 0;
        double[][] seconds = Measure.InTurn(_ => 3, 0.01, () =>
        {
            calls++;
            return 0.001;
        });
        Assert.InRange(calls, 3 * 9, 2 + 3 * 11);
        Assert.All(seconds[0], s => Assert.Equal(0.001, s, 1e-12));
    }

    [Theory]
    [InlineData(1e-9, 51)]
    [InlineData(0.1, 20)]
    [InlineData(100, 5)]
    public void RoundsFitIntoTheTimeWithinLimits(double secondsPerRound, int rounds) => Assert.Equal(rounds, Measure.Within(2, 5, 51)(secondsPerRound));
}
