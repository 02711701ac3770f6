namespace TorchFlash.Kernels.Cpu;

/// <summary>Sizes of the tiles of a pass.</summary>
/// <param name="Queries">Br, rows of a query tile.</param>
/// <param name="Keys">Bc, rows of a key-value tile.</param>
internal readonly record struct TileSizes(int Queries, int Keys)
{
    /// <summary>Query tiles of a head.</summary>
    public int QueryTiles(in AttentionProblem problem) => (problem.QueryLength + Queries - 1) / Queries;

    /// <summary>Key-value tiles of a head.</summary>
    public int KeyTiles(in AttentionProblem problem) => (problem.KeyLength + Keys - 1) / Keys;
}

/// <summary>
/// Tile sizes from the problem and the caches of the machine. One side stays (queries forward, keys and values backward), the other passes
/// by.
/// </summary>
/// <remarks>Never from the number of threads: they fix the order of the sums.</remarks>
/// <param name="caches">The caches.</param>
/// <param name="tuned">What a search has found to be better here.</param>
internal sealed class TilePlan(Caches caches, TuningResults? tuned = null)
{
    /// <summary>
    /// Sizes of the side that passes by: multiples of 6, the rows of a register tile, and mostly of 32, in which rows that see nothing are cut
    /// off.
    /// </summary>
    public static ReadOnlySpan<int> StreamedSizes => [192, 96, 48];

    /// <summary>Sizes of the side that stays: 384 = 2 lcm(6, 64) rows and columns of register tiles, and parts of it.</summary>
    public static ReadOnlySpan<int> StationarySizes => [384, 192, 96];

    /// <summary>Tiles of the side that stays which leave something to share for several threads.</summary>
    private const int EnoughTiles = 16;

    public Caches Caches => caches;

    public TuningResults? Tuned => tuned;

    /// <summary>This plan with the results of a search.</summary>
    public TilePlan With(TuningResults results) => new(caches, results);

    /// <summary>The query tile stays, key-value tiles pass by.</summary>
    public TileSizes Forward(in AttentionProblem problem)
    {
        TileSizes sizes = tuned?.Find(problem, isBackward: false) ?? ForwardOf(problem, ElementSize(problem));
        return new(Shared(problem, sizes.Queries, problem.QueryLength), Fit(sizes.Keys, problem.KeyLength));
    }

    /// <summary>The key-value tile stays, query tiles pass by.</summary>
    public TileSizes Backward(in AttentionProblem problem)
    {
        TileSizes sizes = tuned?.Find(problem, isBackward: true) ?? BackwardOf(problem, ElementSize(problem));
        return new(Fit(sizes.Queries, problem.QueryLength), Shared(problem, sizes.Keys, problem.KeyLength));
    }

    /// <summary>The size of the side that stays, smaller where there would be too few tiles to share.</summary>
    private static int Shared(in AttentionProblem problem, int size, int length)
    {
        while (size > StationarySizes[^1] && (long)problem.Batch * problem.Heads * ((length + size - 1) / size) < EnoughTiles)
            size /= 2;
        return Fit(size, length);
    }

    /// <summary>
    /// First level: the tile of V, which all registers of the query tile pass by (P V); a quarter is left for P. Second level: half of it for
    /// Q, O and P of the query tile; the rest for what passes by.
    /// </summary>
    private TileSizes ForwardOf(in AttentionProblem problem, int elementSize)
    {
        int keys = Largest(StreamedSizes, (long)problem.ValueDim * elementSize, caches.FirstLevelShare * 3L / 4);
        return new(Largest(StationarySizes, ((long)problem.HeadDim + problem.ValueDim + keys) * elementSize, caches.SecondLevelShare / 2), keys);
    }

    /// <summary>
    /// First level: the tile of Q or dO, which the keys pass by (dK, dV), beside blocks of S and dP. Second level: half of it for Kᵀ, Vᵀ, dK, dV and P of
    /// the key-value tile.
    /// </summary>
    private TileSizes BackwardOf(in AttentionProblem problem, int elementSize)
    {
        int dims = problem.HeadDim + problem.ValueDim, queries = Largest(StreamedSizes, (long)Math.Max(problem.HeadDim, problem.ValueDim) * elementSize, caches.FirstLevelShare / 2L);
        return new(queries, Largest(StationarySizes, (2L * dims + queries) * elementSize, caches.SecondLevelShare / 2));
    }

    /// <summary>Bytes of what is computed with: 16-bit operands are tiles of float32 in the caches.</summary>
    private static int ElementSize(in AttentionProblem problem) => problem.ElementType == ElementType.Float64 ? sizeof(double) : sizeof(float);

    /// <summary>The first of the sizes whose rows fit, or the last one.</summary>
    private static int Largest(ReadOnlySpan<int> sizes, long bytesOfRow, long bytes)
    {
        foreach (int size in sizes)
        {
            if (size * bytesOfRow <= bytes)
                return size;
        }
        return sizes[^1];
    }

    /// <summary>No larger than the problem needs, in whole register tiles.</summary>
    private static int Fit(int size, int length) => Math.Min(size, Math.Max(1, (length + 5) / 6) * 6);
}
