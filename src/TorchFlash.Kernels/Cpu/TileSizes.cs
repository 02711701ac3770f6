namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// Tile sizes of the passes, from the problem and the caches of the machine (never from the number of threads: they fix the order
/// of the sums).
/// </summary>
/// <param name="Queries">Br, rows of a query tile.</param>
/// <param name="Keys">Bc, rows of a key-value tile.</param>
internal readonly record struct TileSizes(int Queries, int Keys)
{
    /// <summary>
    /// Rows of the side that passes by: its two operands stay in the first-level cache for d = 64, and a multiple of 6 (rows of a
    /// register tile) and of its columns for most widths wastes no lane.
    /// </summary>
    private const int Streamed = 96;

    /// <summary>
    /// Rows of the side that stays: the more, the less often the other side comes from far away; 384 = 2 lcm(6, 64). Between 48 and
    /// 384 the speed depends little on it (3-5 %).
    /// </summary>
    private const int Stationary = 384;

    /// <summary>Tiles that leave something to share for several threads.</summary>
    private const int EnoughTiles = 16;

    /// <summary>The query tile stays, key-value tiles pass by.</summary>
    public static TileSizes Forward(in AttentionProblem problem, int elementSize)
        => new(FitStationary(problem, elementSize, problem.QueryLength), Fit(Streamed, problem.KeyLength));

    /// <summary>The key-value tile stays, query tiles pass by.</summary>
    public static TileSizes Backward(in AttentionProblem problem, int elementSize)
        => new(Fit(Streamed, problem.QueryLength), FitStationary(problem, elementSize, problem.KeyLength));

    /// <summary>Query tiles of a head.</summary>
    public int QueryTiles(in AttentionProblem problem) => (problem.QueryLength + Queries - 1) / Queries;

    /// <summary>Key-value tiles of a head.</summary>
    public int KeyTiles(in AttentionProblem problem) => (problem.KeyLength + Keys - 1) / Keys;

    private static int FitStationary(in AttentionProblem problem, int elementSize, int length)
    {
        // Both sides have two inputs of d + d_v elements a row, the one that stays two results as well, and P is between them.
        long dims = problem.HeadDim + problem.ValueDim;
        int size = Stationary;
        while (size > Streamed && (size * (2 * dims + Streamed) + Streamed * dims) * elementSize > CacheSizes.SecondLevel * 3L / 4)
            size /= 2;
        while (size > Streamed && (long)problem.Batch * problem.Heads * ((length + size - 1) / size) < EnoughTiles)
            size /= 2;
        return Fit(size, length);
    }

    /// <summary>No larger than the problem needs, in whole register tiles.</summary>
    private static int Fit(int size, int length) => Math.Min(size, Math.Max(1, (length + 5) / 6) * 6);
}
