using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;
using TorchFlash.Kernels.Cpu.Tiles;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// dQ, dK and dV with S and P recomputed tile by tile from (m, l) (FlashAttention-2, algorithm 2): the key-value tile stays, query tiles
/// pass by.
/// <code>
/// S  = Q Kᵀ      P = exp(S - m) / l           delta = rowsum(dO o O)
/// dV += Pᵀ dO
/// dP = dO Vᵀ     dS = P o (dP - delta)        (over P in place)
/// dK += dSᵀ Q                                 (times scale at the end)
/// dQ += dS K                                  (times scale at the end)
/// </code>
/// </summary>
/// <remarks>
/// Kᵀ and Vᵀ are packed once per key-value tile, which all query heads of its group pass by one after the other: dK and dV are summed
/// over the group in that order. dQ is summed in place, key-value tile by key-value tile (see <see cref="Turns"/>).
/// </remarks>
internal sealed unsafe class BackwardPass<L, V, T>
    where L : struct, ILanes<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Rows of S in one go: a block of them and its dP stay in the first-level cache from the product to the strip.</summary>
    private const int BlockRows = 8 * Product<L, V, T>.TileRows;

    private readonly AttentionProblem _problem;
    private readonly BackwardArguments _arguments;
    private readonly Cover _cover;
    private readonly T _factor;
    private readonly T _scale;
    private readonly TileSizes _sizes;
    private readonly int _queryTiles;
    private readonly int _keyTiles;
    private readonly int _columns;
    private readonly int _valueColumns;
    private readonly Turns _turns;

    /// <summary>m, 1/l and delta of every row, three times [B, H, Nq].</summary>
    private readonly T* _rowTerms;

    private BackwardPass(in AttentionProblem problem, in BackwardArguments arguments, T* rowTerms)
    {
        _problem = problem;
        _arguments = arguments;
        _cover = Cover.Of(problem);
        _factor = Exponential.Factor<T>(problem.Scale);
        _scale = T.CreateChecked(problem.Scale);
        _sizes = TileSizes.Backward(problem, sizeof(T));
        _queryTiles = (problem.QueryLength + _sizes.Queries - 1) / _sizes.Queries;
        _keyTiles = (problem.KeyLength + _sizes.Keys - 1) / _sizes.Keys;
        _columns = Product<L, V, T>.PadColumns(problem.HeadDim);
        _valueColumns = Product<L, V, T>.PadColumns(problem.ValueDim);
        _turns = new Turns(problem.Batch * problem.KeyHeadCount, _keyTiles, checked(problem.Batch * problem.Heads * _queryTiles));
        _rowTerms = rowTerms;
    }

    public static void Run(in AttentionProblem problem, in BackwardArguments arguments, int threads)
    {
        long rows = Validation.Rows(problem);
        using Scratch scratch = Scratch.Rent(cursor => (nint)cursor.Take<T>(3 * rows), out nint rowTerms);
        var pass = new BackwardPass<L, V, T>(problem, arguments, (T*)rowTerms);
        for (int head = 0; pass._keyTiles == 0 && head < problem.Batch * problem.Heads; head++)
            pass.ClearQueryGradient(head, problem.QueryLength);
        WorkerPool.Run((int)Math.Min(threads, (long)problem.Batch * problem.KeyHeadCount * pass._keyTiles), pass.Work);
    }

    private void Work()
    {
        using Scratch scratch = Scratch.Rent(cursor => new Tile(this, cursor), out Tile tile);
        _turns.TakeAll((keyHead, index) => KeyTile(keyHead, index, tile));
    }

    /// <summary>The state of one key-value tile, and of the query tile that passes by.</summary>
    private readonly struct Tile
    {
        /// <summary>± Kᵀ in panels.</summary>
        public readonly T* KeyTransposed;

        /// <summary>Vᵀ in panels.</summary>
        public readonly T* ValueTransposed;

        /// <summary>S, then P, then dS: queries x keys.</summary>
        public readonly Matrix<T> Scores;

        /// <summary>dP of one block of S.</summary>
        public readonly Matrix<T> ProbabilityGradient;

        public readonly Matrix<T> KeyGradient;
        public readonly Matrix<T> ValueGradient;
        public readonly Matrix<T> QueryGradient;
        public readonly T* KeyPadding;
        public readonly T* QueryPadding;
        public readonly T* OutputGradientPadding;

        public Tile(BackwardPass<L, V, T> pass, Scratch.Cursor scratch)
        {
            int queries = Product<L, V, T>.PadRows(pass._sizes.Queries), keys = Product<L, V, T>.PadRows(pass._sizes.Keys);
            int panels = Product<L, V, T>.PadPanels(pass._sizes.Keys), stride = Product<L, V, T>.OddLines(panels), width = Product<L, V, T>.Width;
            KeyTransposed = scratch.Take<T>((long)panels * pass._problem.HeadDim);
            ValueTransposed = scratch.Take<T>((long)panels * pass._problem.ValueDim);
            Scores = new(scratch.Take<T>((long)queries * stride), stride);
            ProbabilityGradient = new(scratch.Take<T>((long)BlockRows * width), width);
            KeyGradient = new(scratch.Take<T>((long)keys * pass._columns), pass._columns);
            ValueGradient = new(scratch.Take<T>((long)keys * pass._valueColumns), pass._valueColumns);
            QueryGradient = new(scratch.Take<T>((long)queries * pass._columns), pass._columns);
            KeyPadding = scratch.Take<T>((long)keys * pass._columns);
            QueryPadding = scratch.Take<T>((long)queries * pass._columns);
            OutputGradientPadding = scratch.Take<T>((long)queries * pass._valueColumns);
        }
    }

    private void KeyTile(int keyHead, int index, in Tile t)
    {
        int start = index * _sizes.Keys, keys = Math.Min(_sizes.Keys, _problem.KeyLength - start), keyHeads = _problem.KeyHeadCount, group = _problem.Group;
        Matrix<T> key = Matrix<T>.OfHead(_arguments.Key, keyHead, keyHeads).From(start), value = Matrix<T>.OfHead(_arguments.Value, keyHead, keyHeads).From(start);
        Packing<L, V, T>.Transpose(key.Data, key.Stride, keys, _problem.HeadDim, Exponential.Sign<T>(_problem.Scale), t.KeyTransposed);
        Packing<L, V, T>.Transpose(value.Data, value.Stride, keys, _problem.ValueDim, T.One, t.ValueTransposed);
        key = Packing<L, V, T>.Pad(key, keys, int.MaxValue, _problem.HeadDim, t.KeyPadding);
        new Span<T>(t.KeyGradient.Data, Product<L, V, T>.PadRows(keys) * _columns).Clear();
        new Span<T>(t.ValueGradient.Data, Product<L, V, T>.PadRows(keys) * _valueColumns).Clear();

        // Query tiles before the first query that sees a key of this tile are not touched.
        int firstQuery = _cover.FirstQueryOf(start), firstTile = firstQuery < _problem.QueryLength ? firstQuery / _sizes.Queries : _queryTiles;
        for (int head = keyHead * group; head < (keyHead + 1) * group; head++)
        {
            if (index == 0)
                ClearQueryGradient(head, Math.Min(firstTile * _sizes.Queries, _problem.QueryLength));
            for (int q = firstTile; q < _queryTiles; q++)
                PassBy(head, q, index, key, keys, t);
        }

        Packing<L, V, T>.Copy(t.KeyGradient, Matrix<T>.OfHead(_arguments.KeyGradient, keyHead, keyHeads).From(start), keys, _problem.HeadDim, _scale);
        Packing<L, V, T>.Copy(t.ValueGradient, Matrix<T>.OfHead(_arguments.ValueGradient, keyHead, keyHeads).From(start), keys, _problem.ValueDim, T.One);
    }

    private void PassBy(int head, int index, int keyTile, Matrix<T> key, int keys, in Tile t)
    {
        int first = index * _sizes.Queries, available = _problem.QueryLength - first, queries = Math.Min(_sizes.Queries, available);
        Cover tile = _cover.Tile(first, queries, keyTile * _sizes.Keys, keys);
        Matrix<T> query = Packing<L, V, T>.Pad(OfHead(_arguments.Query), queries, available, _problem.HeadDim, t.QueryPadding);
        Matrix<T> outputGradient = Packing<L, V, T>.Pad(OfHead(_arguments.OutputGradient), queries, available, _problem.ValueDim, t.OutputGradientPadding);
        Matrix<T> queryGradient = OfHead(_arguments.QueryGradient);
        nint row = (nint)head * _problem.QueryLength + first, rows = (nint)Validation.Rows(_problem);
        T* m = _rowTerms + row, inverse = m + rows, delta = inverse + rows;
        int turn = head * _queryTiles + index;
        if (keyTile == 0)
            SetRowTerms(row, OfHead(_arguments.Output), OfHead(_arguments.OutputGradient), queries, m, inverse, delta);
        else
            _turns.Await(turn, 1);

        Probabilities(tile, query, m, inverse, t);
        AddToKeySide(tile, outputGradient, t.ValueGradient, _valueColumns, t);
        ScoreGradients(tile, outputGradient, delta, t);
        AddToKeySide(tile, query, t.KeyGradient, _columns, t);
        _turns.Await(turn, keyTile);
        AddToQueryGradient(tile, key, queryGradient, keyTile == 0, t);
        if (_cover.KeysOf(first + queries - 1) <= keyTile * _sizes.Keys + keys) // no later tile holds a key that these queries see
            Packing<L, V, T>.Copy(queryGradient, queryGradient, queries, _problem.HeadDim, _scale);
        _turns.Pass(turn, keyTile);

        Matrix<T> OfHead(in TensorView view) => Matrix<T>.OfHead(view, head, _problem.Heads).From(first);
    }

    /// <summary>S = Q Kᵀ and P = exp(S - m) / l, 0 for pairs that do not exist.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Probabilities(Cover tile, Matrix<T> query, T* m, T* inverse, in Tile t)
    {
        for (int x = 0; x < tile.Keys; x += Product<L, V, T>.Width)
        {
            for (int i = 0, rows; i < tile.Queries; i += rows)
            {
                (rows, int columns) = Block(tile, i, x);
                if (columns == 0)
                    continue;
                Matrix<T> s = t.Scores.From(i, x);
                Product<L, V, T>.Panel(columns, query.From(i), t.KeyTransposed + (nint)x * _problem.HeadDim, s, _problem.HeadDim, Product<L, V, T>.Tiles(rows));
                Strip<L, V, T>.Probabilities(s, rows, columns, m + i, inverse + i, _factor);
            }
        }
        for (int i = 0; i < tile.Queries && !tile.IsAll; i++)
            t.Scores.Span(i, tile.KeysOf(i), Product<L, V, T>.PadColumns(tile.Keys) - tile.KeysOf(i)).Clear();
    }

    /// <summary>dP = dO Vᵀ and dS = P o (dP - delta), over P.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void ScoreGradients(Cover tile, Matrix<T> outputGradient, T* delta, in Tile t)
    {
        for (int x = 0; x < tile.Keys; x += Product<L, V, T>.Width)
        {
            for (int i = 0, rows; i < tile.Queries; i += rows)
            {
                (rows, int columns) = Block(tile, i, x);
                if (columns == 0)
                    continue;
                Matrix<T> dp = t.ProbabilityGradient;
                Product<L, V, T>.Panel(columns, outputGradient.From(i), t.ValueTransposed + (nint)x * _problem.ValueDim, dp, _problem.ValueDim, Product<L, V, T>.Tiles(rows));
                Strip<L, V, T>.ScoreGradients(t.Scores.From(i, x), dp, rows, columns, delta + i);
            }
        }
    }

    /// <summary>
    /// Size of the block of S at query i and key x that is computed in one go: a panel wide and many rows high where every pair exists, else
    /// six rows high and no wider than these queries see.
    /// </summary>
    private static (int Rows, int Columns) Block(Cover tile, int i, int x)
    {
        int width = Math.Min(Product<L, V, T>.Width, Product<L, V, T>.PadColumns(tile.Keys - x));
        if (tile.KeysOf(i) >= Math.Min(x + width, tile.Keys))
            return (Math.Min(BlockRows, tile.Queries - i), width);
        int rows = Math.Min(Product<L, V, T>.TileRows, tile.Queries - i), seen = tile.KeysOf(i + rows - 1) - x;
        return (rows, Math.Min(width, Product<L, V, T>.PadColumns(Math.Max(0, seen))));
    }

    /// <summary>dV += Pᵀ dO, or dK += dSᵀ Q: six keys at a time over the queries that see the first of them.</summary>
    private static void AddToKeySide(Cover tile, Matrix<T> x, Matrix<T> gradient, int columns, in Tile t)
    {
        int blocks = tile.IsAll ? Product<L, V, T>.Tiles(tile.Keys) : 1;
        for (int j = 0; j < tile.Keys; j += blocks * Product<L, V, T>.TileRows)
        {
            int first = tile.FirstQueryOf(j);
            Product<L, V, T>.Add(columns, t.Scores.Row(first) + j, 1, t.Scores.Stride, x.From(first), gradient.From(j), tile.Queries - first, blocks);
        }
    }

    /// <summary>dQ += dS K, the first time dQ = dS K: six queries at a time over the keys that the last of them sees.</summary>
    private void AddToQueryGradient(Cover tile, Matrix<T> key, Matrix<T> gradient, bool isFirst, in Tile t)
    {
        bool inPlace = _problem.HeadDim == _columns && tile.Queries % Product<L, V, T>.TileRows == 0;
        Matrix<T> to = inPlace ? gradient : t.QueryGradient;
        for (int i = 0; i < Product<L, V, T>.PadRows(tile.Queries) && (isFirst || !inPlace); i++)
            to.Span(i, 0, _columns).Clear();
        int blocks = tile.IsAll ? Product<L, V, T>.Tiles(tile.Queries) : 1;
        for (int i = 0; i < tile.Queries; i += blocks * Product<L, V, T>.TileRows)
        {
            int keys = tile.KeysOf(Math.Min(i + Product<L, V, T>.TileRows, tile.Queries) - 1);
            Product<L, V, T>.Add(_columns, t.Scores.Row(i), t.Scores.Stride, 1, key, to.From(i), keys, blocks);
        }
        if (!inPlace)
            Packing<L, V, T>.Copy(to, gradient, tile.Queries, _problem.HeadDim, T.One, add: !isFirst);
    }

    /// <summary>m and 1/l, and delta = rowsum(dO o O). A row that attends to nothing (l = 0, m = -inf) has weights of 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void SetRowTerms(nint row, Matrix<T> output, Matrix<T> gradient, int queries, T* m, T* inverse, T* delta)
    {
        T* max = (T*)_arguments.Statistics.Max + row, sum = (T*)_arguments.Statistics.Sum + row;
        for (int i = 0; i < queries; i++)
        {
            (m[i], inverse[i]) = sum[i] == T.Zero ? (T.Zero, T.Zero) : (max[i], T.One / sum[i]);
            T* o = output.Row(i), g = gradient.Row(i);
            V lanes = L.Zero;
            int x = 0;
            for (; x + L.Count <= _problem.ValueDim; x += L.Count)
                lanes = L.MultiplyAdd(L.Load(o + x), L.Load(g + x), lanes);
            delta[i] = L.Sum(lanes);
            for (; x < _problem.ValueDim; x++)
                delta[i] += o[x] * g[x];
        }
    }

    /// <summary>dQ = 0 for the first queries of a head, which see no key.</summary>
    private void ClearQueryGradient(int head, int queries)
    {
        Matrix<T> gradient = Matrix<T>.OfHead(_arguments.QueryGradient, head, _problem.Heads);
        for (int i = 0; i < queries; i++)
            gradient.Span(i, 0, _problem.HeadDim).Clear();
    }
}
