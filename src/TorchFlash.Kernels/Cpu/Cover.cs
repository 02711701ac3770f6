using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// Which pairs of a block of queries and keys exist by their distance. Keys and queries are counted from the block's first ones; query i
/// sees keys i + <paramref name="First"/> to i + <paramref name="Last"/>: the keys that a query sees, and the queries that see a key, are
/// ranges.
/// </summary>
/// <param name="Queries">Queries of the block.</param>
/// <param name="Keys">Keys of the block.</param>
/// <param name="First">The first key that query 0 sees; may lie before the block.</param>
/// <param name="Last">The last key that query 0 sees; may lie behind the block, and one before the first where no query sees any.</param>
internal readonly record struct Cover(int Queries, int Keys, int First, int Last)
{
    /// <summary>The cover of a whole head: the causal mask, and the bounds that a program's conditions set.</summary>
    public static Cover Of(in AttentionProblem problem, int first = -int.MaxValue / 2, int last = int.MaxValue / 2)
    {
        last = Math.Min(last, problem.DiagonalOffset);
        return new(problem.QueryLength, problem.KeyLength, Math.Min(first, last + 1), last);
    }

    /// <summary>Whether no pair exists: there is nothing to compute.</summary>
    public bool IsNone => Math.Max(First, 1 - Queries) > Math.Min(Last, Keys - 1);

    /// <summary>Whether every pair exists: there is nothing to hide.</summary>
    public bool IsAll => First <= 1 - Queries && Last >= Keys - 1;

    /// <summary>A block of this block: queries and keys from the given ones on.</summary>
    public Cover Tile(int query, int queries, int key, int keys) => new(queries, keys, First + query - key, Last + query - key);

    /// <summary>The first key that a query sees, which may lie before the block's first query or behind its last.</summary>
    public int FirstKeyOf(int query) => Math.Clamp(query + First, 0, Keys);

    /// <summary>One past the last key that a query sees.</summary>
    public int EndKeyOf(int query) => Math.Clamp(query + Last + 1, 0, Keys);

    /// <summary>The first query that sees a key.</summary>
    public int FirstQueryOf(int key) => Math.Clamp(key - Last, 0, Queries);

    /// <summary>One past the last query that sees a key.</summary>
    public int EndQueryOf(int key) => Math.Clamp(key - First + 1, 0, Queries);
}
