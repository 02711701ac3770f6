using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Cpu.Tiles;

namespace TorchFlash.Kernels.Tests;

/// <summary>What passes ask for ahead of time, and when they do.</summary>
public sealed unsafe class AheadTests
{
    [Fact]
    public void RowsAreAskedForOnceAndFewAtATime()
    {
        byte[] memory = GC.AllocateUninitializedArray<byte>(4096, pinned: true);
        fixed (byte* p = memory)
        {
            var ahead = new Ahead(lines: 4);
            Assert.Equal(0, ahead.Next());
            ahead.Add(p, 128, 128, 5); // two rows of two lines at a time
            ahead.Add(p, 128, 0, 3);
            ahead.Add(p + 1024, 512, 300, 2); // more than four lines: a row
            ahead.Add(null, 64, 64, 1); // an address that nobody may read: asking is not reading
            Assert.Equal([2, 2, 1, 1, 1, 1, 0], Enumerable.Range(0, 7).Select(_ => ahead.Next()));
        }
    }

    [Fact]
    public void WhatIsForgottenIsNotAskedFor()
    {
        var ahead = new Ahead(lines: 4);
        ahead.Add(null, 64, 64, 100);
        Assert.Equal(4, ahead.Next());
        ahead.Clear();
        Assert.Equal(0, ahead.Next());
    }

    [Fact]
    public void WideRowsOfOperandsAreNotAskedFor()
    {
        var ahead = new Ahead(lines: 4);
        ahead.Add(new Stored<float>(null, 260, ElementType.Float32), 1, 65);
        Assert.Equal(0, ahead.Next());
        ahead.Add(new Stored<float>(null, 256, ElementType.Float32), 1, 64);
        Assert.Equal(1, ahead.Next());
    }

    [Fact]
    public void OperandsAreFarWhereTheSecondLevelCannotHoldAFourth()
    {
        var problem = new AttentionProblem { Batch = 1, Heads = 12, QueryLength = 128, KeyLength = 128, HeadDim = 64, ValueDim = 64, Scale = 1, ElementType = ElementType.Float32 };
        var caches = new Caches(48 << 10, 1, 1 << 20, 1);
        Assert.False(caches.AreFar(problem));
        Assert.True(caches.AreFar(problem with { Batch = 4 }));
        Assert.True(caches.AreFar(problem with { QueryLength = 1024, KeyLength = 1024 }));
        Assert.True((caches with { SecondLevelThreads = 4 }).AreFar(problem));
        Assert.False(caches.AreFar(problem with { Batch = 4, ElementType = ElementType.BFloat16 }));
    }
}
