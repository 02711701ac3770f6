using AttentionBench.Plots;

namespace AttentionBench.IoModel;

/// <summary>The pictures of the I/O model.</summary>
/// <param name="Head">N, d and element size.</param>
/// <param name="Tile">Tiles of a length.</param>
/// <param name="Roof">The machine.</param>
/// <param name="IsBackward">Which pass.</param>
internal sealed record IoCharts(HeadShape Head, Func<int, TileShape> Tile, Roofline Roof, bool IsBackward)
{
    private static readonly int[] s_rows = [12, 24, 48, 72, 96, 144, 192, 288, 384, 576, 768, 1152, 1536];
    private static readonly Axis s_size = new("", Unit: AxisUnit.Bytes);

    private string Pass => IsBackward ? "backward" : "forward";

    private string Stationary => IsBackward ? "keys" : "queries";

    private string Streamed => IsBackward ? "queries" : "keys";

    private string Where(string more) => FormattableString.Invariant($"N = {Head.Length}, d = {Head.HeadDim}, {Head.ElementSize} bytes an element, {more}");

    public static EngineTraffic Traffic(HeadShape head, TileShape tile, bool isBackward)
        => isBackward ? EngineTraffic.Backward(head, tile) : EngineTraffic.Forward(head, tile);

    /// <summary>Bytes over the length: standard, tiled as the paper counts, and the engine's loops.</summary>
    public LineChart Bytes(IReadOnlyList<int> lengths, double cache)
    {
        return new($"Bytes that attention moves, {Pass}", new("N, queries and keys of a head", AxisScale.Log2),
            new("bytes between a fast memory of M bytes and the next, one head", AxisScale.Log2, AxisUnit.Bytes),
            [
                Over("standard attention", h => PaperFormulas.Standard(h, IsBackward)),
                Over("FlashAttention", h => PaperFormulas.Tiled(h, cache, IsBackward)),
                Over("this engine's loops", h => Traffic(h, Tile(h.Length), IsBackward).Bytes(cache)),
                Over("each operand once", h => PaperFormulas.Compulsory(h, IsBackward)) with { IsDashed = true },
            ])
        {
            Subtitle = FormattableString.Invariant($"d = {Head.HeadDim}, {Head.ElementSize} bytes an element, M = {s_size.Format(cache)}"),
        };

        Series Over(string name, Func<HeadShape, double> bytes) => new(name, [.. lengths.Select(n => new PlotPoint(n, bytes(Head with { Length = n })))]);
    }

    /// <summary>Operations for every byte of each level over the rows of the side that stays, with what the machine needs of them.</summary>
    public LineChart Intensity()
    {
        TileShape own = Tile(Head.Length);
        return new($"FLOP for every byte moved, {Pass}", new($"{Stationary} of a tile", AxisScale.Log2), new("FLOP/byte", AxisScale.Log2),
            [.. Roof.Levels.Select(level => new Series(level.Name, [.. s_rows.Select(rows => new PlotPoint(rows,
                Head.Flops(IsBackward) / Traffic(Head, WithStationary(own, rows), IsBackward).Bytes(level.Cache)))]))])
        {
            Subtitle = Where(FormattableString.Invariant($"{(IsBackward ? own.Queries : own.Keys)} {Streamed} a tile; dotted: below it the level binds")),
            References = [.. Roof.Levels.Select(level => new ReferenceLine(Roof.Balance(level), level.Name + " needs")), Mark(IsBackward ? own.Keys : own.Queries)],
        };
    }

    /// <summary>Time of each level's traffic over the rows of one side of the tile, against that of the multiply-adds.</summary>
    public LineChart Bound(bool overStreamed)
    {
        TileShape own = Tile(Head.Length);
        bool overKeys = IsBackward != overStreamed;
        return new($"Time of each level's traffic over tile size, {Pass}", new($"{(overStreamed ? Streamed : Stationary)} of a tile, the side that {(overStreamed ? "passes by" : "stays")}", AxisScale.Log2),
            new("of the time of the multiply-adds", AxisScale.Log10, AxisUnit.Share),
            [
                new("registers from L1", [.. s_rows.Select(rows => new PlotPoint(rows, Roof.RegisterShare(Traffic(Head, overStreamed ? WithStreamed(own, rows) : WithStationary(own, rows), IsBackward), IsBackward)))], Colour: 3),
                .. Roof.Levels.Select(level => new Series(level.Name, [.. s_rows.Select(rows => new PlotPoint(rows,
                    Roof.Share(Traffic(Head, overStreamed ? WithStreamed(own, rows) : WithStationary(own, rows), IsBackward), level, IsBackward)))], Colour: Level(level))),
            ])
        {
            Subtitle = Where(FormattableString.Invariant($"{(overKeys ? own.Queries : own.Keys)} {(overKeys ? "queries" : "keys")} a tile; caches {string.Join(", ", Roof.Levels.Select(l => s_size.Format(l.Cache)))}")),
            References = [new(1, "the level binds above"), Mark(overKeys ? own.Keys : own.Queries)],
        };
    }

    /// <summary>Bytes over the size of the cache, computed and simulated access by access.</summary>
    public LineChart Simulated(StackDistances simulated)
    {
        TileShape own = Tile(Head.Length);
        EngineTraffic traffic = Traffic(Head, own, IsBackward);
        double[] sizes = [.. Enumerable.Range(0, 45).Select(i => 4096 * Math.Pow(2, i / 4.0))];
        return new($"Bytes into and out of a cache of M bytes, {Pass}", new("M, least recently used goes first", AxisScale.Log2, AxisUnit.Bytes),
            new("bytes", AxisScale.Log2, AxisUnit.Bytes),
            [
                new("formula", [.. sizes.Select(m => new PlotPoint(m, traffic.Bytes(m)))]),
                new("simulation", [.. sizes.Select(m => new PlotPoint(m, simulated.Fills(m) + simulated.WriteBacks(m)))]),
            ])
        {
            Subtitle = Where(FormattableString.Invariant($"tiles of {own.Queries} queries and {own.Keys} keys")),
        };
    }

    /// <summary>Operations for every byte of memory over the rows of the tile that stays in shared memory.</summary>
    public static LineChart OfGpus(IReadOnlyList<Gpu> gpus, int length, int headDim)
    {
        int[] rows = [16, 32, 64, 128, 192, 256, 384, 512];
        return new("FLOP for every byte of GPU memory, were there no second-level cache", new("rows of the tile that stays", AxisScale.Log2), new("FLOP/byte", AxisScale.Log2),
            [
                .. new[] { false, true }.Select(isBackward => new Series(isBackward ? "backward" : "forward",
                    [.. rows.Select(r => new PlotPoint(r, Gpu.MemoryIntensity(length, headDim, r, isBackward)))])),
            ])
        {
            Subtitle = FormattableString.Invariant($"bfloat16, N = {length}, d = {headDim}; dotted: below it memory binds"),
            References = [.. gpus.Select(gpu => new ReferenceLine(gpu.MemoryBalance, gpu.Name))],
        };
    }

    private int Level(MemoryLevel level) => Roof.Levels.TakeWhile(other => other != level).Count();

    private TileShape WithStationary(TileShape tile, int rows) => IsBackward ? tile with { Keys = rows } : tile with { Queries = rows };

    private TileShape WithStreamed(TileShape tile, int rows) => IsBackward ? tile with { Queries = rows } : tile with { Keys = rows };

    private static ReferenceLine Mark(int rows) => new(rows, FormattableString.Invariant($"chosen: {rows}"), IsVertical: true);
}
