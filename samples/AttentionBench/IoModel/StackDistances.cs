namespace AttentionBench.IoModel;

/// <summary>Takes the memory accesses of a loop nest.</summary>
internal interface IAccesses
{
    /// <summary>Bytes from an address on are read or written.</summary>
    void Touch(long address, int bytes, bool isWrite);
}

/// <summary>
/// Least-recently-used caches of every size at once (Mattson, Gecsei, Slutz, Traiger 1970): an access hits in the caches that hold more lines than
/// were touched since the line's last access. Fully associative, with write-back and fill on write; no prefetch.
/// </summary>
/// <param name="lineSize">Bytes of a line.</param>
internal sealed class StackDistances(int lineSize = 64) : IAccesses
{
    private readonly Dictionary<long, Line> _lines = [];
    private long[] _tree = new long[1 << 16]; // Fenwick tree: 1 at the time of the last access of every line.
    private int _time;
    private long _cold;
    private readonly List<long> _fills = [0], _writeBacks = [0]; // [distance]; of write-backs the difference from one size to the next.

    /// <summary>Accesses taken, a line each.</summary>
    public long Accesses { get; private set; }

    /// <summary>Bytes read into a cache of so many bytes.</summary>
    public double Fills(double cache) => lineSize * (double)(_cold + _fills.Skip((int)Math.Min(cache / lineSize, int.MaxValue)).Sum());

    /// <summary>Bytes written back from it, with what is left in it at the end.</summary>
    public double WriteBacks(double cache)
    {
        int lines = (int)Math.Min(cache / lineSize, int.MaxValue);
        return lineSize * (double)(_writeBacks.Take(lines + 1).Sum() + _lines.Values.Count(line => line.DirtyFrom <= lines));
    }

    /// <inheritdoc/>
    public void Touch(long address, int bytes, bool isWrite)
    {
        for (long line = address / lineSize; line <= (address + bytes - 1) / lineSize; line++)
            Touch(line, isWrite);
    }

    private void Touch(long address, bool isWrite)
    {
        Accesses++;
        if (++_time == _tree.Length)
            Compact();
        if (_lines.TryGetValue(address, out Line line))
        {
            if (line.Time != _time - 1)
            {
                int distance = (int)(_lines.Count - Sum(line.Time)); // Others touched since; a cache of more lines than that still has it.
                Count(_fills, distance, 1);
                if (distance >= line.DirtyFrom) // Evicted from caches of up to so many lines, dirty in those from DirtyFrom on.
                {
                    Count(_writeBacks, (int)line.DirtyFrom, 1);
                    Count(_writeBacks, distance + 1, -1);
                    line.DirtyFrom = distance + 1;
                }
            }
            Add(line.Time, -1);
        }
        else
        {
            _cold++;
            line.DirtyFrom = long.MaxValue;
        }
        line.Time = _time;
        if (isWrite)
            line.DirtyFrom = 0;
        _lines[address] = line;
        Add(_time, 1);
    }

    /// <summary>Numbers the lines anew in the order of their last accesses.</summary>
    private void Compact()
    {
        long[] order = [.. _lines.OrderBy(pair => pair.Value.Time).Select(pair => pair.Key)];
        _tree = new long[Math.Max(_tree.Length, 4 * (order.Length + 2))];
        _time = 0;
        foreach (long address in order)
        {
            Line line = _lines[address];
            line.Time = ++_time;
            _lines[address] = line;
            Add(_time, 1);
        }
        _time++;
    }

    private void Add(int time, long value)
    {
        for (; time < _tree.Length; time += time & -time)
            _tree[time] += value;
    }

    /// <summary>Lines whose last access was at that time or before.</summary>
    private long Sum(int time)
    {
        long sum = 0;
        for (; time > 0; time -= time & -time)
            sum += _tree[time];
        return sum;
    }

    private static void Count(List<long> counts, int distance, long by)
    {
        while (counts.Count <= distance)
            counts.Add(0);
        counts[distance] += by;
    }

    /// <param name="Time">Of the last access.</param>
    /// <param name="DirtyFrom">Caches of so many lines and more hold what was written and not yet written back.</param>
    private record struct Line(int Time, long DirtyFrom);
}
