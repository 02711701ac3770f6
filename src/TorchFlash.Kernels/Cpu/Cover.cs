namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// Which pairs of a block of queries and keys exist. Keys and queries are counted from the block's first ones; query i sees the keys up
/// to i + <paramref name="Diagonal"/>: the keys that a query sees, and the queries that see a key, are ranges.
/// </summary>
/// <param name="Queries">Queries of the block.</param>
/// <param name="Keys">Keys of the block.</param>
/// <param name="Diagonal">The last key that query 0 sees; negative where it sees none.</param>
internal readonly record struct Cover(int Queries, int Keys, int Diagonal)
{
    /// <summary>The cover of a whole head.</summary>
    public static Cover Of(in AttentionProblem problem) => new(problem.QueryLength, problem.KeyLength, problem.DiagonalOffset);

    /// <summary>Whether no pair exists: there is nothing to compute.</summary>
    public bool IsNone => KeysOf(Queries - 1) == 0;

    /// <summary>Whether every pair exists: there is nothing to hide.</summary>
    public bool IsAll => KeysOf(0) == Keys;

    /// <summary>A block of this block: queries and keys from the given ones on.</summary>
    public Cover Tile(int query, int queries, int key, int keys) => new(queries, keys, Diagonal + query - key);

    /// <summary>A query sees this many keys, the first ones; 0 for a query before the block.</summary>
    public int KeysOf(int query) => Math.Clamp(query + Diagonal + 1, 0, Keys);

    /// <summary>The first query that sees a key, with all that follow it; <see cref="Queries"/> where none does.</summary>
    public int FirstQueryOf(int key) => Math.Clamp(key - Diagonal, 0, Queries);
}
