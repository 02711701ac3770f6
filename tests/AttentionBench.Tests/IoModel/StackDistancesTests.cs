using AttentionBench.IoModel;

namespace AttentionBench.Tests.IoModel;

public sealed class StackDistancesTests
{
    /// <summary>All sizes at once against one cache after the other, each a list in the order of use.</summary>
    [Theory]
    [InlineData(1, 2000, 12)]
    [InlineData(2, 3000, 60)]
    [InlineData(3, 90000, 150)] // Its times are numbered anew in between.
    public void AgreesWithCachesSimulatedOneByOne(int seed, int accesses, int lines)
    {
        var random = new Random(seed);
        (long Line, bool IsWrite)[] trace = [.. Enumerable.Range(0, accesses).Select(i => ((long)(random.Next(3) == 0 ? i % lines : random.Next(1 + random.Next(lines))), random.Next(4) == 0))];
        var all = new StackDistances();
        foreach ((long line, bool isWrite) in trace)
            all.Touch(line * 64, 1, isWrite);
        Assert.Equal(accesses, all.Accesses);
        foreach (int capacity in new[] { 1, 2, 3, 5, 8, 13, 40, lines - 1, lines, 1000 })
        {
            (long fills, long writeBacks) = One(trace, capacity);
            Assert.Equal(64.0 * fills, all.Fills(64.0 * capacity));
            Assert.Equal(64.0 * writeBacks, all.WriteBacks(64.0 * capacity));
        }
    }

    private static (long Fills, long WriteBacks) One((long Line, bool IsWrite)[] trace, int capacity)
    {
        var order = new LinkedList<long>();
        var held = new Dictionary<long, (LinkedListNode<long> Node, bool IsDirty)>();
        long fills = 0, writeBacks = 0;
        foreach ((long line, bool isWrite) in trace)
        {
            bool isDirty = isWrite;
            if (held.Remove(line, out (LinkedListNode<long> Node, bool IsDirty) entry))
            {
                order.Remove(entry.Node);
                isDirty |= entry.IsDirty;
            }
            else
            {
                fills++;
                if (held.Count == capacity)
                {
                    writeBacks += held[order.Last!.Value].IsDirty ? 1 : 0;
                    held.Remove(order.Last.Value);
                    order.RemoveLast();
                }
            }
            held[line] = (order.AddFirst(line), isDirty);
        }
        return (fills, writeBacks + held.Values.Count(entry => entry.IsDirty));
    }

    [Fact]
    public void BytesAcrossALineTouchBoth()
    {
        var distances = new StackDistances();
        distances.Touch(60, 8, isWrite: true);
        Assert.Equal(2, distances.Accesses);
        Assert.Equal(128, distances.Fills(1 << 20));
        Assert.Equal(128, distances.WriteBacks(1 << 20));
    }
}
