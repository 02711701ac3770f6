using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;
using TorchFlash.Kernels.Cpu.Tiles;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// O = softmax(scale Q Kᵀ) V, query tile by query tile (FlashAttention-2, algorithm 1), and (m, l) as <see cref="RowStatistics"/> has them:
/// <code>
/// S = Q Kᵀ
/// m' = max(m, rowmax S)      P = exp(S - m')      l = exp(m - m') l + rowsum P
/// O = diag(exp(m - m')) O + P V
/// O = diag(1/l) O                                (after the last key-value tile)
/// </code>
/// </summary>
/// <remarks>
/// Tiles of S are computed transposed, Sᵀ = K Qᵀ: then m, l and the exponentials run along the lanes of a register, no operation
/// is horizontal, and K and V are used where they lie; only the small Qᵀ tile is packed. The sign of the scale goes
/// into the packing of Q, its magnitude into the exponent, after the subtraction of the maximum: scores of any size lose nothing, and
/// the backward pass computes the very same bits of Q Kᵀ.
/// </remarks>
internal sealed unsafe class ForwardPass<L, V, T>
    where L : struct, ILanes<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly AttentionProblem _problem;
    private readonly ForwardArguments _arguments;
    private readonly Cover _cover;
    private readonly T _factor;
    private readonly TileSizes _sizes;
    private readonly int _queryTiles;
    private readonly int _valueColumns;
    private long _next;

    private ForwardPass(in AttentionProblem problem, in ForwardArguments arguments)
    {
        _problem = problem;
        _arguments = arguments;
        _cover = Cover.Of(problem);
        _factor = Exponential.Factor<T>(problem.Scale);
        _sizes = TileSizes.Forward(problem, sizeof(T));
        _queryTiles = (problem.QueryLength + _sizes.Queries - 1) / _sizes.Queries;
        _valueColumns = Product<L, V, T>.PadColumns(problem.ValueDim);
    }

    public static void Run(in AttentionProblem problem, in ForwardArguments arguments, int threads)
    {
        var pass = new ForwardPass<L, V, T>(problem, arguments);
        WorkerPool.Run((int)Math.Min(threads, pass.Items), pass.Work);
    }

    private long Items => (long)_problem.Batch * _problem.Heads * _queryTiles;

    /// <summary>Takes query tiles head by head (K and V stay in cache), the longest rows of each head first.</summary>
    private void Work()
    {
        using Scratch scratch = Scratch.Rent(cursor => new Tile(this, cursor), out Tile tile);
        for (long item; (item = Interlocked.Increment(ref _next) - 1) < Items;)
            QueryTile((int)(item / _queryTiles), _queryTiles - 1 - (int)(item % _queryTiles), tile);
    }

    /// <summary>The state of one query tile.</summary>
    private readonly struct Tile
    {
        /// <summary>± Qᵀ in panels.</summary>
        public readonly T* Query;

        /// <summary>Sᵀ, then Pᵀ: keys x queries.</summary>
        public readonly Matrix<T> Scores;

        /// <summary>O before its division by l.</summary>
        public readonly Matrix<T> Output;

        public readonly T* KeyPadding;
        public readonly T* ValuePadding;

        public readonly SoftmaxState<T> State;

        public Tile(ForwardPass<L, V, T> pass, Scratch.Cursor scratch)
        {
            int queries = Product<L, V, T>.PadPanels(pass._sizes.Queries), keys = Product<L, V, T>.PadRows(pass._sizes.Keys);
            int stride = Product<L, V, T>.OddLines(queries);
            Query = scratch.Take<T>((long)queries * pass._problem.HeadDim);
            Scores = new(scratch.Take<T>((long)keys * stride), stride);
            Output = new(scratch.Take<T>((long)Product<L, V, T>.PadRows(queries) * pass._valueColumns), pass._valueColumns);
            KeyPadding = scratch.Take<T>((long)keys * Product<L, V, T>.PadColumns(pass._problem.HeadDim));
            ValuePadding = scratch.Take<T>((long)keys * pass._valueColumns);
            State = new(scratch.Take<T>(queries), scratch.Take<T>(queries), scratch.Take<T>(queries), scratch.Take<T>(queries));
        }
    }

    private void QueryTile(int head, int index, in Tile t)
    {
        int first = index * _sizes.Queries, queries = Math.Min(_sizes.Queries, _problem.QueryLength - first);
        Cover cover = _cover.Tile(first, queries, 0, _problem.KeyLength);
        Matrix<T> key = Matrix<T>.OfKeyHead(_arguments.Key, head, _problem), value = Matrix<T>.OfKeyHead(_arguments.Value, head, _problem);

        Begin(Matrix<T>.OfHead(_arguments.Query, head, _problem.Heads).From(first), queries, t);
        int keys = cover.KeysOf(queries - 1);
        for (int start = 0; start < keys; start += _sizes.Keys)
        {
            int count = Math.Min(_sizes.Keys, keys - start);
            Cover tile = cover.Tile(0, queries, start, count);
            Matrix<T> k = Packing<L, V, T>.Pad(key.From(start), count, _problem.KeyLength - start, _problem.HeadDim, t.KeyPadding);
            Matrix<T> v = Packing<L, V, T>.Pad(value.From(start), count, int.MaxValue, _problem.ValueDim, t.ValuePadding);
            for (int x = 0; x < queries; x += Product<L, V, T>.Width)
            {
                int columns = Math.Min(Product<L, V, T>.Width, Product<L, V, T>.PadColumns(queries - x));
                Cover panel = tile.Tile(x, Math.Min(columns, queries - x), 0, count);
                int seen = Scores(panel, k, x, columns, t);
                if (Strip<L, V, T>.Softmax(t.Scores.From(0, x), seen, columns, t.State.From(x), _factor))
                    RescaleOutput(x, panel.Queries, t);
            }
            AddValues(tile, v, t);
        }
        End(head, first, queries, t);
    }

    /// <summary>O = 0, l = 0, m = -inf (finite, so that a difference of two of them is no NaN).</summary>
    private void Begin(Matrix<T> query, int queries, in Tile t)
    {
        Packing<L, V, T>.Transpose(query.Data, query.Stride, queries, _problem.HeadDim, Exponential.Sign<T>(_problem.Scale), t.Query);
        int padded = Product<L, V, T>.PadPanels(queries);
        T lowest = T.BitIncrement(T.NegativeInfinity);
        new Span<T>(t.State.Max, padded).Fill(lowest);
        new Span<T>(t.State.M, padded).Fill(lowest);
        new Span<T>(t.State.Sum, padded).Clear();
        new Span<T>(t.Output.Data, Product<L, V, T>.PadRows(queries) * _valueColumns).Clear();
    }

    /// <summary>
    /// Sᵀ = K Qᵀ for the queries x .. of a panel, -inf for pairs that do not exist. Registers and keys that none of them needs are left out;
    /// as many keys as were not is what it returns: those that a register tile of P V which begins in this panel goes through.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private int Scores(Cover panel, Matrix<T> key, int x, int columns, in Tile t)
    {
        const int six = Product<L, V, T>.TileRows;
        T* query = t.Query + (nint)x * _problem.HeadDim;
        int common = panel.KeysOf(0), seen = panel.KeysOf(panel.Queries - 1), needed = panel.KeysOf(panel.Queries + six - 2);
        // Six keys at a time, in one go where all queries see them.
        int r = panel.IsAll ? Product<L, V, T>.PadRows(seen) : common / six * six;
        if (r > 0)
            Product<L, V, T>.Panel(columns, key, query, t.Scores.From(0, x), _problem.HeadDim, r / six);
        for (; r < seen; r += six)
        {
            int skip = panel.FirstQueryOf(r) / L.Count * L.Count;
            Product<L, V, T>.Panel(columns - skip, key.From(r), query + skip, t.Scores.From(r, x + skip), _problem.HeadDim, 1);
        }
        for (int j = common; j < needed; j++)
            t.Scores.Span(j, x, panel.FirstQueryOf(j)).Fill(T.NegativeInfinity);
        return needed;
    }

    /// <summary>O = diag(exp(m - m')) O, for the queries x .. of a panel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void RescaleOutput(int x, int queries, in Tile t)
    {
        for (int i = x; i < x + queries; i++)
        {
            if (t.State.Rescale[i] != T.One)
                Packing<L, V, T>.Copy(t.Output.From(i), t.Output.From(i), 1, _valueColumns, t.State.Rescale[i]);
        }
    }

    /// <summary>O += P V, six queries at a time over the keys that the last of them sees.</summary>
    private void AddValues(Cover tile, Matrix<T> value, in Tile t)
    {
        int blocks = tile.IsAll ? Product<L, V, T>.Tiles(tile.Queries) : 1;
        for (int i = 0; i < tile.Queries; i += blocks * Product<L, V, T>.TileRows)
        {
            int keys = tile.KeysOf(Math.Min(i + Product<L, V, T>.TileRows, tile.Queries) - 1);
            Product<L, V, T>.Add(_valueColumns, t.Scores.Data + i, 1, t.Scores.Stride, value, t.Output.From(i), keys, blocks);
        }
    }

    /// <summary>O / l to where the caller wants it, and (m, l). A row that attends to nothing, for want of keys or because every score is -inf, is 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void End(int head, int first, int queries, in Tile t)
    {
        Matrix<T> output = Matrix<T>.OfHead(_arguments.Output, head, _problem.Heads).From(first);
        nint statistics = (nint)head * _problem.QueryLength + first;
        T* m = (T*)_arguments.Statistics.Max + statistics, l = (T*)_arguments.Statistics.Sum + statistics;
        for (int i = 0; i < queries; i += L.Count) // l relative to the maximum is exp(m - max) times that to m
            L.Store(t.State.Rescale + i, Exponential.Weight<L, V, T>(L.Load(t.State.M + i), L.Load(t.State.Max + i), L.Broadcast(_factor)));
        for (int i = 0; i < queries; i++)
        {
            T sum = t.State.Sum[i];
            if (sum == T.Zero)
            {
                output.Span(i, 0, _problem.ValueDim).Clear();
                (m[i], l[i]) = (T.NegativeInfinity, T.Zero);
                continue;
            }
            Packing<L, V, T>.Copy(t.Output.From(i), output.From(i), 1, _problem.ValueDim, T.One / sum);
            m[i] = t.State.Max[i];
            l[i] = sum * t.State.Rescale[i];
        }
    }
}
