using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// Which pairs exist: those of a band along the diagonal (<see cref="Cover"/>), as far as the other conditions of the score program hold.
/// The passes ask it which tiles to visit. Safe for many threads.
/// </summary>
internal sealed class Visibility
{
    /// <summary>Rows that are cut off at a time: a divisor of the usual sizes of blocks and of the tiles of the side that passes by.</summary>
    private const int TrimmedRows = 32;

    private readonly AttentionProblem _problem;
    private readonly TileAnalysis? _conditions;

    public Visibility(in AttentionProblem problem, TileAnalysis? analysis)
    {
        _problem = problem;
        Cover = analysis is null ? Cover.Of(problem) : Cover.Of(problem, analysis.FirstDiagonal, analysis.LastDiagonal);
        _conditions = analysis?.Where is null or { Op: Op.Constant, Value: 1 } ? null : analysis;
    }

    /// <summary>The band of a whole head.</summary>
    public Cover Cover { get; }

    /// <summary>The number of sets of tiles that differ: the conditions may name the batch entry and the head.</summary>
    public int Kinds => (_conditions is { DependsOnBatch: true } ? _problem.Batch : 1) * (_conditions is { DependsOnHead: true } ? _problem.Heads : 1);

    /// <summary>Which of the <see cref="Kinds"/> a head (batch entry h / heads, head h % heads) has.</summary>
    public int KindOf(int head)
    {
        int batch = _conditions is { DependsOnBatch: true } ? head / _problem.Heads : 0;
        return _conditions is { DependsOnHead: true } ? batch * _problem.Heads + head % _problem.Heads : batch;
    }

    /// <summary>The first head of a kind.</summary>
    public int HeadOf(int kind) => _conditions switch
    {
        { DependsOnBatch: true, DependsOnHead: true } => kind,
        { DependsOnBatch: true } => kind * _problem.Heads,
        _ => kind,
    };

    /// <summary>How many pairs of a block satisfy the conditions, the band apart.</summary>
    public TileClass Classify(int head, int query, int queries, int key, int keys)
        => _conditions?.Classify(head / _problem.Heads, head % _problem.Heads, query, query + queries, key, key + keys) ?? TileClass.All;

    /// <summary>A part of one side of a block, outside of which no pair satisfies the conditions, and how many in it do.</summary>
    /// <param name="From">First row of the part.</param>
    /// <param name="To">One past its last row; the first one where there is none.</param>
    /// <param name="Class">How many pairs of it satisfy the conditions.</param>
    public readonly record struct Part(int From, int To, TileClass Class)
    {
        public bool IsEmpty => From >= To;
    }

    /// <summary>
    /// What is left of a block of a tile when rows that see nothing are cut off at both ends, a few at a time: its keys, or its queries.
    /// </summary>
    /// <param name="head">Head of all batch entries.</param>
    /// <param name="query">First query of the block.</param>
    /// <param name="queries">Its queries.</param>
    /// <param name="key">First key of the block.</param>
    /// <param name="keys">Its keys.</param>
    /// <param name="ofKeys">Whether keys are cut off; else queries.</param>
    /// <param name="tile">The class of the whole tile.</param>
    public Part Trim(int head, int query, int queries, int key, int keys, bool ofKeys, TileClass tile)
    {
        int rows = ofKeys ? keys : queries;
        TileClass whole = tile == TileClass.Some ? Classify(head, query, queries, key, keys) : tile;
        if (whole != TileClass.Some)
            return new(0, whole == TileClass.None ? 0 : rows, whole);
        (int from, int to, bool isAll) = (rows, 0, true);
        for (int row = 0; row < rows; row += TrimmedRows)
        {
            int count = Math.Min(TrimmedRows, rows - row);
            TileClass part = ofKeys ? Classify(head, query, queries, key + row, count) : Classify(head, query + row, count, key, keys);
            if (part == TileClass.None)
                continue;
            isAll &= part == TileClass.All && (from == rows || to == row);
            (from, to) = (Math.Min(from, row), row + count);
        }
        return from < to ? new(from, to, isAll ? TileClass.All : TileClass.Some) : new(0, 0, TileClass.None);
    }

    /// <summary>The tiles of so many keys that some of the queries see, in order, with the class of each as far as the conditions go.</summary>
    public void KeyTiles(int head, int query, int queries, int keysPerTile, List<(int Tile, TileClass Class)> tiles)
    {
        Cover band = Cover.Tile(query, queries, 0, _problem.KeyLength);
        Visit(head, query, queries, true, band.FirstKeyOf(0), band.EndKeyOf(queries - 1), keysPerTile, tiles);
    }

    /// <summary>The tiles of so many queries of which some see one of the keys, in order, with the class of each as far as the conditions go.</summary>
    public void QueryTiles(int head, int key, int keys, int queriesPerTile, List<(int Tile, TileClass Class)> tiles)
    {
        Cover band = Cover.Tile(0, _problem.QueryLength, key, keys);
        Visit(head, key, keys, false, band.FirstQueryOf(0), band.EndQueryOf(keys - 1), queriesPerTile, tiles);
    }

    private void Visit(int head, int from, int count, bool queriesFixed, int first, int end, int step, List<(int Tile, TileClass Class)> tiles)
    {
        tiles.Clear();
        if (first >= end)
            return;
        if (_conditions is not null)
        {
            _conditions.Visit(head / _problem.Heads, head % _problem.Heads, from, from + count, queriesFixed, first, end, step, tiles);
            return;
        }
        for (int tile = first / step; tile * step < end; tile++)
            tiles.Add((tile, TileClass.All));
    }
}
