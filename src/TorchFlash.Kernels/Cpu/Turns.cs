namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// Who computes which key-value tile of the backward pass, and when its part of dQ may be added. Workers take heads of key and value;
/// when none is left they help with the key-value tiles of others. A query tile receives its parts in the order of the key-value
/// tiles that visit it, whoever computes them: the sums do not depend on the number of threads, and no second dQ exists.
/// Nobody waits for a key-value tile that is not taken before his own is: the smallest one at work never waits.
/// </summary>
internal sealed class Turns(int keyHeads, int keyTiles, int queryTiles)
{
    /// <summary>Next key-value tile to be taken of every head of key and value.</summary>
    private readonly int[] _nextKeyTile = new int[keyHeads];

    /// <summary>Key-value tiles that have visited every query tile (of all heads).</summary>
    private readonly int[] _passed = new int[queryTiles];

    /// <summary>Whether a key-value tile (of all heads) is done.</summary>
    private readonly bool[] _done = new bool[checked(keyHeads * keyTiles)];

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
        {
            keyTile(head, tile);
            Volatile.Write(ref _done[head * keyTiles + tile], true);
        }
        Volatile.Write(ref _nextKeyTile[head], keyTiles); // no overflow however often others look
    }

    /// <summary>Waits until so many key-value tiles have visited a query tile.</summary>
    public void Await(int queryTile, int visits)
    {
        var spin = new SpinWait();
        while (Volatile.Read(ref _passed[queryTile]) < visits)
            Spin(ref spin);
    }

    /// <summary>Says that so many key-value tiles have visited a query tile.</summary>
    public void Pass(int queryTile, int visits) => Volatile.Write(ref _passed[queryTile], visits);

    /// <summary>Waits until a key-value tile is done.</summary>
    public void AwaitKeyTile(int head, int tile)
    {
        var spin = new SpinWait();
        while (!Volatile.Read(ref _done[head * keyTiles + tile]))
            Spin(ref spin);
    }

    private void Spin(ref SpinWait spin)
    {
        if (_isFaulted)
            throw new OperationCanceledException("Another worker of this backward pass has failed.");
        spin.SpinOnce(-1);
    }
}
