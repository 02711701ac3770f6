namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// Tile sizes of the passes, from the problem and the caches of the machine (never from the number of threads: they fix the order
/// of the sums).
/// </summary>
/// <param name="Queries">Br, rows of a query tile: a multiple of 6 (register tile rows) and of 64 (its columns) where it can be.</param>
/// <param name="Keys">Bc, rows of a key-value tile, likewise.</param>
internal readonly record struct TileSizes(int Queries, int Keys)
{
    /// <summary>
    /// 192 = lcm(6, 64) is the smallest size that wastes no lane. Between 48 and 384 the speed hardly depends on it (3 %) as long as
    /// a tile's working set (K and V, and P with its query-side operands) stays in the second-level cache.
    /// </summary>
    private const int Preferred = 192;

    public static TileSizes For(in AttentionProblem problem, int elementSize)
    {
        // Bytes of one more row on both sides of a tile: Q, dO, dQ (or O) and K, V, dK, dV, and its share of P.
        long row = elementSize * (3L * problem.HeadDim + 3L * problem.ValueDim + Preferred);
        int size = Preferred;
        while (size > 48 && row * size > CacheSizes.SecondLevel)
            size -= 48;
        return new(Fit(size, problem.QueryLength), Fit(size, problem.KeyLength));
    }

    /// <summary>No larger than the problem needs, in whole register tiles.</summary>
    private static int Fit(int size, int length) => Math.Min(size, Math.Max(1, (length + 5) / 6) * 6);
}
