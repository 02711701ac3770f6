using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cpu;

/// <summary>The query tiles that every key-value tile of a head visits, and when it is its turn there.</summary>
internal sealed class TileMap
{
    /// <param name="QueryTile">Which query tile.</param>
    /// <param name="Turn">How many key-value tiles visit it before.</param>
    /// <param name="IsLast">Whether none visits it after.</param>
    /// <param name="Class">How many of the pairs satisfy the score program's conditions.</param>
    public readonly record struct Visit(int QueryTile, int Turn, bool IsLast, TileClass Class);

    private readonly Visit[][] _visits;
    private readonly int[] _turns;

    /// <param name="visibility">Which pairs exist.</param>
    /// <param name="head">The head (of all batch entries).</param>
    /// <param name="problem">Its lengths.</param>
    /// <param name="sizes">Tile sizes.</param>
    public TileMap(Visibility visibility, int head, in AttentionProblem problem, TileSizes sizes)
    {
        _turns = new int[sizes.QueryTiles(problem)];
        _visits = new Visit[sizes.KeyTiles(problem)][];
        var lastVisitor = new (int KeyTile, int Index)[_turns.Length];
        var tiles = new List<(int Tile, TileClass Class)>();
        for (int k = 0; k < _visits.Length; k++)
        {
            int start = k * sizes.Keys;
            visibility.QueryTiles(head, start, Math.Min(sizes.Keys, problem.KeyLength - start), sizes.Queries, tiles);
            _visits[k] = new Visit[tiles.Count];
            for (int i = 0; i < tiles.Count; i++)
            {
                (int tile, TileClass tileClass) = tiles[i];
                lastVisitor[tile] = (k, i);
                _visits[k][i] = new Visit(tile, _turns[tile]++, false, tileClass);
            }
        }
        for (int q = 0; q < _turns.Length; q++)
        {
            if (_turns[q] > 0)
            {
                ref Visit last = ref _visits[lastVisitor[q].KeyTile][lastVisitor[q].Index];
                last = last with { IsLast = true };
            }
        }
    }

    /// <summary>The visits of a key-value tile, in their order.</summary>
    public ReadOnlySpan<Visit> Of(int keyTile) => _visits[keyTile];

    /// <summary>Whether no key-value tile visits a query tile: its queries see no key.</summary>
    public bool IsUnvisited(int queryTile) => _turns[queryTile] == 0;
}
