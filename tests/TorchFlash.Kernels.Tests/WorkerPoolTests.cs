using TorchFlash.Kernels.Cpu;

namespace TorchFlash.Kernels.Tests;

public class WorkerPoolTests
{
    [Fact]
    public void EveryItemIsDoneOnceAndNothingAfterTheCall()
    {
        // Items as short as these are gone before most helpers have woken up: their work is taken back and their threads go to the next call.
        const int callers = 6, calls = 3000, items = 3;
        int late = 0, wrong = 0;
        Thread[] threads = [.. Enumerable.Range(0, callers).Select(_ => new Thread(() =>
        {
            for (int call = 0; call < calls; call++)
            {
                int next = 0, done = 0;
                bool isOver = false;
                WorkerPool.Run(4, () =>
                {
                    if (Volatile.Read(ref isOver))
                        Interlocked.Increment(ref late);
                    while (Interlocked.Increment(ref next) <= items)
                        Interlocked.Increment(ref done);
                });
                Volatile.Write(ref isOver, true);
                if (done != items)
                    Interlocked.Increment(ref wrong);
            }
        }))];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        Assert.Equal((0, 0), (late, wrong));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void WhatOneWorkerThrowsComesOutAsItIs(int threads)
    {
        int calls = 0;
        var exception = Assert.Throws<NotSupportedException>(() => WorkerPool.Run(threads, () =>
        {
            if (Interlocked.Increment(ref calls) == 1)
                throw new NotSupportedException("one");
        }));
        Assert.Equal("one", exception.Message);
    }

    [Fact]
    public void WhatSeveralWorkersThrowComesOutTogether()
    {
        using var both = new Barrier(2);
        var exception = Assert.Throws<AggregateException>(() => WorkerPool.Run(2, () =>
        {
            both.SignalAndWait();
            throw new NotSupportedException();
        }));
        Assert.Equal(2, exception.InnerExceptions.Count);
    }
}
