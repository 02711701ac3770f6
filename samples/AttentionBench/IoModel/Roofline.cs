namespace AttentionBench.IoModel;

/// <summary>What feeds a cache.</summary>
/// <param name="Name">Whose traffic it is.</param>
/// <param name="Cache">Bytes of the cache that is fed.</param>
/// <param name="Bandwidth">Bytes a second into it.</param>
internal sealed record MemoryLevel(string Name, double Cache, double Bandwidth);

/// <summary>A processor core as the roofline model sees it (Williams, Waterman, Patterson 2009).</summary>
/// <param name="Ceiling">Floating point operations a second.</param>
/// <param name="FirstLevel">Bytes a second between registers and the first level.</param>
/// <param name="Levels">The others, the nearest first.</param>
internal sealed record Roofline(double Ceiling, double FirstLevel, IReadOnlyList<MemoryLevel> Levels)
{
    /// <summary>Operations for every byte of a level at which both take the same time; with fewer the level binds.</summary>
    public double Balance(MemoryLevel level) => Ceiling / level.Bandwidth;

    /// <summary>Seconds of the multiply-adds alone.</summary>
    public double ComputeSeconds(HeadShape head, bool isBackward) => head.Flops(isBackward) / Ceiling;

    /// <summary>Seconds of a level's traffic over those of the multiply-adds: above 1 it binds even if it overlaps with them perfectly.</summary>
    public double Share(EngineTraffic traffic, MemoryLevel level, bool isBackward)
        => traffic.Bytes(level.Cache) / level.Bandwidth / ComputeSeconds(traffic.Head, isBackward);

    /// <summary>The same between registers and the first level.</summary>
    public double RegisterShare(EngineTraffic traffic, bool isBackward) => traffic.RegisterBytes / FirstLevel / ComputeSeconds(traffic.Head, isBackward);

    /// <summary>All levels one after the other: what is lost where nothing overlaps.</summary>
    public double Share(EngineTraffic traffic, bool isBackward) => RegisterShare(traffic, isBackward) + Levels.Sum(level => Share(traffic, level, isBackward));

    /// <summary>The level whose traffic takes longest, or null: the multiply-adds do.</summary>
    public MemoryLevel? Binding(EngineTraffic traffic, bool isBackward)
        => Levels.MaxBy(level => Share(traffic, level, isBackward)) is { } slowest && Share(traffic, slowest, isBackward) > 1 ? slowest : null;

    /// <summary>The tile whose traffic costs least, all levels one after the other; of those within half a per cent of the multiply-adds' time the smallest.</summary>
    public (TileShape Tile, double Share) Best(HeadShape head, int vectorBits, bool isBackward)
    {
        int[] sizes = [24, 48, 72, 96, 144, 192, 240, 288, 336, 384, 480, 576, 768, 1152, 1536];
        List<(TileShape Tile, double Share)> all = [];
        foreach (int queries in sizes)
        {
            foreach (int keys in sizes)
            {
                TileShape tile = TileShape.Of(queries, keys, vectorBits, head.ElementSize);
                all.Add((tile, Share(isBackward ? EngineTraffic.Backward(head, tile) : EngineTraffic.Forward(head, tile), isBackward)));
            }
        }
        double least = all.Min(candidate => candidate.Share);
        return all.Where(candidate => candidate.Share <= least + .005).MinBy(candidate => (long)candidate.Tile.Queries * candidate.Tile.Keys);
    }
}
