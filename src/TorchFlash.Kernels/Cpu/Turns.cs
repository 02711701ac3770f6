namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// Who computes which key-value tile of the backward pass, and when its part of dQ may be added. Workers take heads of key and value;
/// when none is left they help with the key-value tiles of others. A query tile receives its parts in the order of the key-value
/// tiles whoever computes them: the sums do not depend on the number of threads, and no second dQ exists.
/// </summary>
internal sealed class Turns(int keyHeads, int keyTiles, int queryTiles)
{
    /// <summary>Next key-value tile to be taken of every head of key and value.</summary>
    private readonly int[] _nextKeyTile = new int[keyHeads];

    /// <summary>Key-value tiles that have passed every query tile (of all heads).</summary>
    private readonly int[] _passed = new int[queryTiles];

    private int _nextKeyHead;

    /// <summary>Set when a worker has thrown: those that wait for its turn give up.</summary>
    private volatile bool _isFaulted;

    /// <summary>Hands out key-value tiles (head, index) until there is none, to a worker among others.</summary>
    public void TakeAll(Action<int, int> keyTile)
    {
        try
        {
            for (int head; (head = Interlocked.Increment(ref _nextKeyHead) - 1) < keyHeads;)
                Take(head, keyTile);
            // Help the others, every worker from another head on.
            int start = (Environment.CurrentManagedThreadId & int.MaxValue) % Math.Max(1, keyHeads);
            for (int i = 0; i < keyHeads; i++)
                Take((start + i) % keyHeads, keyTile);
        }
        catch
        {
            _isFaulted = true;
            throw;
        }
    }

    private void Take(int head, Action<int, int> keyTile)
    {
        for (int tile; (tile = Interlocked.Increment(ref _nextKeyTile[head]) - 1) < keyTiles;)
            keyTile(head, tile);
        Volatile.Write(ref _nextKeyTile[head], keyTiles); // no overflow however often others look
    }

    /// <summary>Waits until so many key-value tiles have passed a query tile.</summary>
    public void Await(int queryTile, int passed)
    {
        var spin = new SpinWait();
        while (Volatile.Read(ref _passed[queryTile]) < passed)
        {
            if (_isFaulted)
                throw new OperationCanceledException("Another worker of this backward pass has failed.");
            spin.SpinOnce(-1);
        }
    }

    /// <summary>Says that one more key-value tile has passed a query tile.</summary>
    public void Pass(int queryTile, int keyTile) => Volatile.Write(ref _passed[queryTile], keyTile + 1);
}
