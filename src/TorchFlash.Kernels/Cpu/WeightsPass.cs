using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;
using TorchFlash.Kernels.Cpu.Tiles;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// 1/H sum over heads of P, recomputed from (m, l) tile by tile: nothing of size Nq x Nk exists but the result.
/// </summary>
internal sealed unsafe class WeightsPass<L, V, T>
    where L : struct, ILanes<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly AttentionProblem _problem;
    private readonly WeightsArguments _arguments;
    private readonly Cover _cover;
    private readonly T _factor;
    private readonly TileSizes _sizes;
    private readonly int _queryTiles;
    private readonly int _keyTiles;
    private long _next;

    private WeightsPass(in AttentionProblem problem, in WeightsArguments arguments)
    {
        _problem = problem;
        _arguments = arguments;
        _cover = Cover.Of(problem);
        _factor = Exponential.Factor<T>(problem.Scale);
        _sizes = TileSizes.Forward(problem, sizeof(T));
        _queryTiles = (problem.QueryLength + _sizes.Queries - 1) / _sizes.Queries;
        _keyTiles = (problem.KeyLength + _sizes.Keys - 1) / _sizes.Keys;
    }

    public static void Run(in AttentionProblem problem, in WeightsArguments arguments, int threads)
    {
        var pass = new WeightsPass<L, V, T>(problem, arguments);
        WorkerPool.Run((int)Math.Min(threads, pass.Items), pass.Work);
    }

    private long Items => (long)_problem.Batch * _keyTiles * _queryTiles;

    private void Work()
    {
        using Scratch scratch = Scratch.Rent(cursor => new Tile(this, cursor), out Tile tile);
        for (long item; (item = Interlocked.Increment(ref _next) - 1) < Items;)
            WeightsTile((int)(item / _keyTiles / _queryTiles), (int)(item / _keyTiles % _queryTiles), (int)(item % _keyTiles), tile);
    }

    /// <summary>The state of one tile of the weights.</summary>
    private readonly struct Tile
    {
        /// <summary>± Kᵀ in panels.</summary>
        public readonly T* KeyTransposed;

        /// <summary>P of one head: queries x keys.</summary>
        public readonly Matrix<T> Scores;

        /// <summary>Its sum over the heads.</summary>
        public readonly Matrix<T> Sum;

        public readonly T* QueryPadding;

        /// <summary>m and 1 / (H l) of the rows.</summary>
        public readonly T* Max, Inverse;

        public Tile(WeightsPass<L, V, T> pass, Scratch.Cursor scratch)
        {
            int queries = Product<L, V, T>.PadRows(pass._sizes.Queries), panels = Product<L, V, T>.PadPanels(pass._sizes.Keys), stride = Product<L, V, T>.OddLines(panels);
            KeyTransposed = scratch.Take<T>((long)panels * pass._problem.HeadDim);
            Scores = new(scratch.Take<T>((long)queries * stride), stride);
            Sum = new(scratch.Take<T>((long)queries * stride), stride);
            Max = scratch.Take<T>(queries);
            Inverse = scratch.Take<T>(queries);
            QueryPadding = scratch.Take<T>((long)queries * Product<L, V, T>.PadColumns(pass._problem.HeadDim));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void WeightsTile(int batch, int queryTile, int keyTile, in Tile t)
    {
        int first = queryTile * _sizes.Queries, queries = Math.Min(_sizes.Queries, _problem.QueryLength - first), d = _problem.HeadDim;
        int start = keyTile * _sizes.Keys, keys = Math.Min(_sizes.Keys, _problem.KeyLength - start), columns = Product<L, V, T>.PadColumns(keys);
        Cover tile = _cover.Tile(first, queries, start, keys);
        T perHead = T.One / T.CreateChecked(_problem.Heads);
        for (int h = 0; h < _problem.Heads && !tile.IsNone; h++)
        {
            int head = batch * _problem.Heads + h;
            Matrix<T> key = Matrix<T>.OfKeyHead(_arguments.Key, head, _problem).From(start);
            Packing<L, V, T>.Transpose(key.Data, key.Stride, keys, d, Exponential.Sign<T>(_problem.Scale), t.KeyTransposed);
            Matrix<T> query = Packing<L, V, T>.Pad(Matrix<T>.OfHead(_arguments.Query, head, _problem.Heads).From(first), queries, _problem.QueryLength - first, d, t.QueryPadding);
            nint row = (nint)head * _problem.QueryLength + first;
            for (int i = 0; i < queries; i++)
            {
                T m = ((T*)_arguments.Statistics.Max)[row + i], l = ((T*)_arguments.Statistics.Sum)[row + i];
                (t.Max[i], t.Inverse[i]) = l == T.Zero ? (T.Zero, T.Zero) : (m, perHead / l); // a row that attends to nothing has weights of 0
            }
            Matrix<T> to = h == 0 ? t.Sum : t.Scores;
            for (int x = 0; x < columns; x += Product<L, V, T>.Width)
            {
                int width = Math.Min(Product<L, V, T>.Width, columns - x);
                Product<L, V, T>.Panel(width, query, t.KeyTransposed + (nint)x * d, to.From(0, x), d, Product<L, V, T>.Tiles(queries));
                Strip<L, V, T>.Probabilities(to.From(0, x), queries, width, t.Max, t.Inverse, _factor);
            }
            if (h > 0)
                Packing<L, V, T>.Copy(t.Scores, t.Sum, queries, columns, T.One, add: true);
        }
        var weights = new Matrix<T>((T*)_arguments.Weights.Data + batch * _arguments.Weights.BatchStride, (nint)_arguments.Weights.RowStride);
        for (int i = 0; i < queries; i++)
        {
            int seen = tile.KeysOf(i);
            t.Sum.Span(i, 0, seen).CopyTo(weights.Span(first + i, start, seen));
            weights.Span(first + i, start + seen, keys - seen).Clear();
        }
    }
}
