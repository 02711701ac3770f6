using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;
using TorchFlash.Kernels.Cpu.Scores;
using TorchFlash.Kernels.Cpu.Tiles;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// Z o P (Z: what dropout keeps, over 1 - p), or 1/H of its sum over heads, recomputed from (m, l) tile by tile: nothing of size Nq x Nk
/// exists but the result.
/// </summary>
internal sealed unsafe class WeightsPass<L, V, T>
    where L : struct, ILanes<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly AttentionProblem _problem;
    private readonly WeightsArguments _arguments;
    private readonly BoundScore<T> _score;
    private readonly Arithmetic<L, V, T> _products;
    private readonly T _factor;
    private readonly TileSizes _sizes;
    private readonly int _queryTiles;
    private readonly int _keyTiles;

    private long _next;

    private WeightsPass(in AttentionProblem problem, in WeightsArguments arguments, BoundScore<T> score, in PassSetting setting)
    {
        _problem = problem;
        _arguments = arguments;
        _score = score;
        _products = new(problem, setting.Pairs);
        _factor = Exponential.Factor<T>(score.ExponentScale);
        _sizes = setting.Plan.Forward(problem);
        _queryTiles = _sizes.QueryTiles(problem);
        _keyTiles = _sizes.KeyTiles(problem);
    }

    public static void Run(in AttentionProblem problem, in WeightsArguments arguments, in PassSetting setting)
    {
        using var score = new BoundScore<T>(problem, arguments.ScoreTensors, Product<L, V, T>.VectorBits, setting.Threads);
        var pass = new WeightsPass<L, V, T>(problem, arguments, score, setting);
        WorkerPool.Run((int)Math.Min(setting.Threads, pass.Items), pass.Work);
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
        /// <summary>± K, packed.</summary>
        public readonly T* Key;

        /// <summary>For 16-bit operands: K.</summary>
        public readonly T* KeyRows;

        /// <summary>P of one head: queries x keys.</summary>
        public readonly Matrix<T> Scores;

        /// <summary>Its sum over the heads.</summary>
        public readonly Matrix<T> Sum;

        public readonly T* QueryPadding;

        /// <summary>m and 1 / l of the rows, over H for an average and over 1 - p with dropout.</summary>
        public readonly T* Max, Inverse;

        /// <summary>For the score program: what lies across the lanes.</summary>
        public readonly T* Staged;

        /// <summary>For dropout: random words.</summary>
        public readonly uint* Words;

        public Tile(WeightsPass<L, V, T> pass, Scratch.Cursor scratch)
        {
            int queries = Product<L, V, T>.PadRows(pass._sizes.Queries), panels = Product<L, V, T>.PadPanels(pass._sizes.Keys), stride = Product<L, V, T>.OddLines(panels);
            Key = scratch.Take<T>(pass._products.PackedSize(pass._sizes.Keys, pass._problem.HeadDim));
            KeyRows = scratch.Take<T>(pass._problem.ElementType.IsHalfWidth() ? (long)pass._sizes.Keys * pass._problem.HeadDim : 0);
            Scores = new(scratch.Take<T>((long)queries * stride), stride);
            Sum = new(scratch.Take<T>((long)queries * stride), stride);
            Max = scratch.Take<T>(queries);
            Inverse = scratch.Take<T>(queries);
            QueryPadding = scratch.Take<T>((long)queries * Product<L, V, T>.PadColumns(pass._problem.HeadDim));
            Staged = scratch.Take<T>((long)pass._score.StagedTiles * queries * Product<L, V, T>.Width);
            Words = scratch.Take<uint>(pass._problem.Dropout > 0 ? DropoutStrip<L, V, T>.Words : 0);
        }
    }

    [MethodImpl(Jit.Alone)]
    private void WeightsTile(int batch, int queryTile, int keyTile, in Tile t)
    {
        int first = queryTile * _sizes.Queries, queries = Math.Min(_sizes.Queries, _problem.QueryLength - first);
        int start = keyTile * _sizes.Keys, keys = Math.Min(_sizes.Keys, _problem.KeyLength - start), columns = Product<L, V, T>.PadColumns(keys);
        Cover tile = _score.Visibility.Cover.Tile(first, queries, start, keys);
        T share = T.CreateChecked(Dropout.Factor(_problem.Dropout) / (_arguments.PerHead ? 1 : _problem.Heads));
        for (int h = 0; h < _problem.Heads; h++)
        {
            int head = batch * _problem.Heads + h;
            bool isFirst = h == 0 || _arguments.PerHead;
            TileClass tileClass = tile.IsNone ? TileClass.None : _score.Visibility.Classify(head, first, queries, start, keys);
            if (tileClass == TileClass.None)
            {
                for (int i = 0; i < queries && isFirst; i++)
                    t.Sum.Span(i, 0, columns).Clear();
            }
            else
            {
                Probabilities(tile, tileClass, head, first, start, share, isFirst ? t.Sum : t.Scores, t);
                if (!isFirst)
                    Packing<L, V, T>.Copy(t.Scores, t.Sum, queries, columns, T.One, add: true);
            }
            if (_arguments.PerHead || h == _problem.Heads - 1)
            {
                Stored<T> weights = Stored<T>.OfHead(_arguments.Weights, _arguments.PerHead ? head : batch, _arguments.PerHead ? _problem.Heads : 1, _problem.ElementType);
                Packing<L, V, T>.Store(t.Sum, weights.From(first, start), queries, keys, T.One);
            }
        }
    }

    /// <summary>Z o P of one head's tile, times a share.</summary>
    [MethodImpl(Jit.Alone)]
    private void Probabilities(Cover tile, TileClass tileClass, int head, int first, int start, T share, Matrix<T> to, in Tile t)
    {
        int d = _problem.HeadDim, queries = tile.Queries, keys = tile.Keys;
        Matrix<T> query = _products.Rows(Stored<T>.OfHead(_arguments.Query, head, _problem).From(first), queries, _problem.QueryLength - first, d, t.QueryPadding);
        Packed<T> key = _products.Pack(
            Stored<T>.OfKeyHead(_arguments.Key, head, _problem).From(start), keys, d, Exponential.Sign<T>(_score.ExponentScale), t.Key, t.KeyRows);
        nint row = (nint)head * _problem.QueryLength + first;
        for (int i = 0; i < queries; i++)
        {
            T m = ((T*)_arguments.Statistics.Max)[row + i], l = ((T*)_arguments.Statistics.Sum)[row + i];
            (t.Max[i], t.Inverse[i]) = l == T.Zero ? (T.Zero, T.Zero) : (m, share / l); // a row that attends to nothing has weights of 0
        }
        TileProgram? code = _score.Code(ScorePass.ModifyAgain, tileClass);
        for (int x = 0; x < keys; x += Product<L, V, T>.Width)
        {
            int width = Math.Min(Product<L, V, T>.Width, Product<L, V, T>.PadColumns(keys - x));
            Matrix<T> s = to.From(0, x);
            _products.Panel(width, query, queries, key, x, s, d);
            if (code is not null)
            {
                TileArguments arguments = _score.Arguments(s, s, queries, Math.Min(width, keys - x), first, start + x, head, t.Staged, Product<L, V, T>.Width);
                code.Run(ref arguments);
            }
            Strip<L, V, T>.Probabilities(s, queries, width, t.Max, t.Inverse, _factor);
            for (int i = 0; i < queries && !tile.IsAll; i++)
            {
                int from = Math.Clamp(tile.FirstKeyOf(i) - x, 0, width), end = Math.Clamp(tile.EndKeyOf(i) - x, from, width);
                to.Span(i, x, from).Clear();
                to.Span(i, x + end, width - end).Clear();
            }
            if (_problem.Dropout > 0)
                DropoutStrip<L, V, T>.Drop(s, s, queries, width, _problem, head, first, start + x, t.Words);
        }
    }
}
