using System.Numerics;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cpu.Scores;

/// <summary>
/// Where the key-value tiles of a backward pass add their parts of the gradients of captured tensors. Tiles whose parts of a gradient may
/// overlap share a sum (slot) and add to it one after the other, in an order that the problem fixes; the slots are added up at the end: the
/// bits do not depend on the number of threads.
/// </summary>
/// <remarks>
/// Parts do not overlap where an index of the tensor is the head, the batch entry or the key itself: a bias [H, Nq, Nk] is summed where it lies.
/// </remarks>
internal sealed unsafe class CapturedGradients<T> : IDisposable
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Elements in all slots of a gradient, at most; so many tiles of a head, and so many heads, add at the same time.</summary>
    private const long MostElements = 1 << 22;

    private const int KeySlots = 4, HeadSlots = 16;

    /// <param name="Tensor">Its number in the program.</param>
    /// <param name="Size">Elements.</param>
    /// <param name="Data">The slots.</param>
    /// <param name="PerKeyTile">Slots for the key-value tiles of a head; 0: their parts do not overlap.</param>
    /// <param name="PerHead">Slots for the heads whose parts overlap; 0: they do not.</param>
    /// <param name="PerBatchEntry">Whether only equal heads of different batch entries overlap.</param>
    /// <param name="WithinBatchEntry">Whether only heads of the same batch entry overlap.</param>
    private sealed record Sum(int Tensor, long Size, nint Data, int PerKeyTile, int PerHead, bool PerBatchEntry, bool WithinBatchEntry)
    {
        public int Slots => Math.Max(1, PerKeyTile) * Math.Max(1, PerHead);
    }

    private readonly nint[] _results;
    private readonly int _heads, _keyTiles;
    private readonly List<Sum> _sums = [];
    private readonly Scratch? _memory;

    /// <param name="problem">The problem.</param>
    /// <param name="gradients">Where the gradients are wanted, 0 where one is not.</param>
    /// <param name="keyTiles">Key-value tiles of a head.</param>
    public CapturedGradients(in AttentionProblem problem, nint[]? gradients, int keyTiles)
    {
        _results = gradients ?? [];
        (_heads, _keyTiles) = (problem.KeyHeadCount, keyTiles);
        if (!Array.Exists(_results, address => address != 0))
            return;
        List<Node> loads = [.. Graph.Order(problem.Score!.Output).Where(node => node.Op == Op.Load)];
        int batch = problem.Batch;
        ScoreProgram program = problem.Score;
        _memory = Scratch.Rent(
            cursor =>
            {
                _sums.Clear();
                for (int k = 0; k < _results.Length; k++)
                {
                    if (_results[k] != 0)
                        _sums.Add(Lay(k, program.Tensors[k], [.. loads.Where(load => load.Tag == program.Tensors[k])], batch, cursor));
                }
            });
        foreach (Sum sum in _sums)
            Clear(sum.Data, sum.Slots * sum.Size);
    }

    /// <summary>Whether any gradient is wanted.</summary>
    public bool Any => _sums.Count > 0;

    private Sum Lay(int index, ScoreTensor tensor, List<Node> loads, int batch, Scratch.Cursor cursor)
    {
        long size = tensor.Shape.Aggregate(1L, (a, b) => a * b);
        bool byHead = Has(Op.Head), byBatch = Has(Op.Batch);
        int keySlots = Has(Op.Key) ? 0 : Math.Min(_keyTiles, KeySlots);
        int overlapping = byHead && byBatch ? 0 : byHead ? batch : byBatch ? _heads : batch * _heads;
        // Where key-value tiles do not overlap, heads follow each other tile by tile, in one sum: another slot would cost more than the waiting.
        int headSlots = overlapping <= 1 ? 0 : Math.Min(overlapping, keySlots > 0 ? HeadSlots : 1);
        while (Math.Max(1, keySlots) * Math.Max(1, headSlots) * size > MostElements && Math.Max(keySlots, headSlots) > 1)
        {
            if (headSlots >= keySlots)
                headSlots = Math.Max(1, headSlots / 2);
            else
                keySlots = Math.Max(1, keySlots / 2);
        }
        int slots = Math.Max(1, keySlots) * Math.Max(1, headSlots);
        nint data = slots == 1 ? _results[index] : (nint)cursor.Take<T>(slots * size);
        return new Sum(index, size, data, keySlots, headSlots, byHead, byBatch);

        // Whether one and the same index of every load is this.
        bool Has(Op op) => Enumerable.Range(0, tensor.Shape.Count).Any(d => loads.TrueForAll(load => load.Arguments[d].Op == op));
    }

    /// <summary>Waits until a key-value tile may add its parts, and says where.</summary>
    /// <param name="head">Head of key and value, of all batch entries.</param>
    /// <param name="tile">Key-value tile.</param>
    /// <param name="turns">Who is done.</param>
    /// <param name="tensors">The program's tensors: their gradients are set.</param>
    public void Begin(int head, int tile, Turns turns, CapturedTensor* tensors)
    {
        foreach (Sum sum in _sums)
        {
            // The heads that overlap with this one are every stride-th.
            int stride = sum.PerBatchEntry ? _heads : 1, number = sum.PerBatchEntry ? head / _heads : sum.WithinBatchEntry ? head % _heads : head;
            int keySlot = sum.PerKeyTile == 0 ? 0 : tile % sum.PerKeyTile, headSlot = sum.PerHead == 0 ? 0 : number % sum.PerHead;
            tensors[sum.Tensor].Gradient = (T*)sum.Data + (headSlot * Math.Max(1, sum.PerKeyTile) + keySlot) * sum.Size;
            if (sum.PerKeyTile > 0 && tile >= sum.PerKeyTile)
                turns.AwaitKeyTile(head, tile - sum.PerKeyTile);
            else if (sum.PerHead > 0 && number >= sum.PerHead)
                turns.AwaitKeyTile(head - sum.PerHead * stride, sum.PerKeyTile == 0 ? tile : LastOf(keySlot, sum.PerKeyTile));
        }
    }

    private int LastOf(int slot, int slots) => (_keyTiles - 1 - slot) / slots * slots + slot;

    /// <summary>Adds the slots up, in their order.</summary>
    public void End()
    {
        foreach (Sum sum in _sums)
        {
            T* result = (T*)_results[sum.Tensor], slot = (T*)sum.Data;
            if (slot == result)
                continue;
            Clear((nint)result, sum.Size);
            for (int k = 0; k < sum.Slots; k++, slot += sum.Size)
            {
                for (long x = 0; x < sum.Size; x++)
                    result[x] += slot[x];
            }
        }
    }

    private static void Clear(nint data, long elements)
        => System.Runtime.InteropServices.NativeMemory.Clear((void*)data, (nuint)elements * (nuint)sizeof(T));

    /// <inheritdoc/>
    public void Dispose() => _memory?.Dispose();
}
