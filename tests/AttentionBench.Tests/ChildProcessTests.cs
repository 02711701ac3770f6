using AttentionBench.Contestants;
using AttentionBench.Measuring;
using Gpt2;

namespace AttentionBench.Tests;

public class ChildProcessTests
{
    [Fact]
    public void TheAnswerIsTheLastLine() =>
        Assert.Equal(new ProbeResult(4096, 0.5, 0.25), ChildProcess.Parse<ProbeResult>("x", "a warning\n{\"Bytes\":4096,\"FirstSeconds\":0.5,\"LaterSeconds\":0.25}\n\n"));

    [Theory]
    [InlineData("")]
    [InlineData("{\"Bytes\":")]
    [InlineData("null")]
    public void NoAnswerIsSaid(string output) =>
        Assert.StartsWith("The process that measures flash answered", Assert.Throws<UserException>(() => ChildProcess.Parse<ProbeResult>("flash", output)).Message, StringComparison.Ordinal);

    [Fact]
    public void AFailureIsSaidWithItsReason() =>
        Assert.Equal("The process that measures flash ended with exit code 134: the reason", ChildProcess.Failure("flash", 134, "TorchFlash: a warning.\nProcess terminated.\nthe reason\n   at Somewhere()\n").Message);

    /// <summary>libtorch 1.13 has no products of float16 matrices on processors; where it has, there is nothing to see.</summary>
    [Fact]
    public void WhatEndsTheProcessEndsOnlyTheChild()
    {
        var c = new AttentionCase { Heads = 1, KeyHeads = 1, Queries = 8, Keys = 8, Type = TorchFlash.Kernels.ElementType.Float16 };
        UserException? failure = (UserException?)Record.Exception(() => Probe.Memory(Contestant.Named(Contestant.Naive), c));
        Assert.True(failure is null || failure.Message.Contains("not implemented", StringComparison.Ordinal), failure?.Message);
    }

    [Fact]
    public void AKilledProcessIsSaidToBe() => Assert.Contains("killed", ChildProcess.Failure("flash", 137, "").Message, StringComparison.Ordinal);

    [Fact]
    public void MemoryOfTheNaiveCompositionGrowsByItsMatrices()
    {
        var c = new AttentionCase { Heads = 4, KeyHeads = 4, Queries = 1024, Keys = 1024 };
        Contestant naive = Contestant.Named(Contestant.Naive);
        Assert.Equal(4.0 * 4 * 4 * 1024 * 1024, naive.ScoreBytes(c));
        Assert.InRange(Probe.Memory(naive, c), 2L * 4 * 4 * 1024 * 1024, 8L * 4 * 4 * 1024 * 1024);
        Assert.InRange(Probe.Memory(Contestant.Named(Contestant.Flash), c), 1, 2L * 4 * 4 * 1024 * 1024);
    }
}
