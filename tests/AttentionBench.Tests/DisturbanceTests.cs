using AttentionBench.Measuring;

namespace AttentionBench.Tests;

public class DisturbanceTests
{
    private static MachineState Start { get; } = new(100, 10, new ProcessorTimes(1000, 5, 2), 2600);

    [Fact]
    public void ProcessorTimesAreReadFromTheSystemsCounters()
    {
        const string stat = "cpu  1000 100 300 5000 200 10 20 30 7 8\ncpu0 500 50 150 2500 100 5 10 15 0 0\ncpu1 500 50 150 2500 100 5 10 15 0 0\nintr 1 2\n";
        Assert.Equal(new ProcessorTimes(14.3, 0.3, 2), ProcessorTimes.Parse(stat));
    }

    [Theory]
    [InlineData("")]
    [InlineData("cpu  1 2 3\n")]
    [InlineData("intr 1 2 3 4 5 6 7 8\n")]
    public void OtherTextsAreRefused(string stat) => Assert.Throws<FormatException>(() => ProcessorTimes.Parse(stat));

    [Fact]
    public void AMachineForOneselfIsUndisturbed() => Assert.Equal("", After(busy: 20.1, own: 20));

    [Fact]
    public void OtherProcessesAreNamed() => Assert.Equal("disturbed: other processes kept 0.7 of 2 processors busy", After(busy: 20, own: 13));

    [Fact]
    public void WorkBesideOneThreadDisturbsOnlyBeyondTheOtherProcessor()
    {
        Assert.Equal("", After(busy: 20, own: 10, threads: 1));
        Assert.Contains("other processes", After(busy: 20, own: 5, threads: 1), StringComparison.Ordinal);
    }

    [Fact]
    public void StolenTimeIsNamed() => Assert.Equal("disturbed: the host withheld 0.30 processors", After(busy: 17, own: 17, stolen: 3));

    [Fact]
    public void AChangedClockIsNamed() => Assert.Equal("disturbed: clock from 2600 to 2100 MHz", After(busy: 20, own: 20, megahertz: 2100));

    [Fact]
    public void AFallenCeilingIsNamed() => Assert.Equal("disturbed: ceiling at 80 % of that at the start", After(busy: 20, own: 20, ceiling: 0.8));

    [Fact]
    public void WhatThisMachineDoesCanBeRead() => Assert.True(MachineState.Now().Own > 0);

    private static string After(double busy, double own, double stolen = 0, double megahertz = 2600, double ceiling = 1, int threads = 2) => Disturbance.Between(
        Start, new(110, Start.Own + own, new ProcessorTimes(1000 + busy, 5 + stolen, 2), megahertz), threads, ceiling);
}
