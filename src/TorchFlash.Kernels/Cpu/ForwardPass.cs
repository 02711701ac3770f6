using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;
using TorchFlash.Kernels.Cpu.Scores;
using TorchFlash.Kernels.Cpu.Tiles;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// O = softmax(scale Q Kᵀ) V, query tile by query tile (FlashAttention-2, algorithm 1), and (m, l) as <see cref="RowStatistics"/> has them:
/// <code>
/// S = Q Kᵀ               S = modify(S), -inf for pairs that do not exist
/// m' = max(m, rowmax S)      P = exp(S - m')      l = exp(m - m') l + rowsum P
/// O = diag(exp(m - m')) O + (Z o P) V            (Z: what dropout keeps)
/// O = diag(1/l) O                                (after the last key-value tile)
/// </code>
/// </summary>
/// <remarks>
/// Tiles of S are computed transposed, Sᵀ = K Qᵀ: then m, l and the exponentials run along the lanes of a register, no operation
/// is horizontal, and K and V are used where they lie (tiles of 16-bit types are converted); only the small Qᵀ tile is packed. The sign of the scale goes
/// into the packing of Q, its magnitude into the exponent, after the subtraction of the maximum: scores of any size lose nothing, and
/// the backward pass computes the very same bits of Q Kᵀ.
/// </remarks>
internal sealed unsafe class ForwardPass<L, V, T>
    where L : struct, ILanes<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Keys of a panel that a program with matrices takes at a time: whole cache lines of their rows.</summary>
    private const int StagedKeys = 32;

    private readonly AttentionProblem _problem;
    private readonly ForwardArguments _arguments;
    private readonly BoundScore<T> _score;
    private readonly Arithmetic<L, V, T> _products;
    private readonly T _factor;
    private readonly TileSizes _sizes;
    private readonly int _queryTiles;
    private readonly int _columns;
    private readonly int _valueColumns;

    /// <summary>Whether it pays to ask for operands ahead of time.</summary>
    private readonly bool _isFar;

    private long _next;

    private ForwardPass(in AttentionProblem problem, in ForwardArguments arguments, BoundScore<T> score, in PassSetting setting)
    {
        _problem = problem;
        _arguments = arguments;
        _score = score;
        _products = new(problem, setting.Pairs);
        _factor = Exponential.Factor<T>(score.ExponentScale);
        _sizes = setting.Plan.Forward(problem);
        _isFar = setting.Plan.Caches.AreFar(problem);
        _queryTiles = (problem.QueryLength + _sizes.Queries - 1) / _sizes.Queries;
        _columns = Product<L, V, T>.PadColumns(problem.HeadDim);
        _valueColumns = Product<L, V, T>.PadColumns(problem.ValueDim);
    }

    public static void Run(in AttentionProblem problem, in ForwardArguments arguments, in PassSetting setting)
    {
        using var score = new BoundScore<T>(problem, arguments.ScoreTensors, Product<L, V, T>.VectorBits, setting.Threads);
        var pass = new ForwardPass<L, V, T>(problem, arguments, score, setting);
        WorkerPool.Run((int)Math.Min(setting.Threads, pass.Items), pass.Work);
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
        /// <summary>± Q, packed.</summary>
        public readonly T* Query;

        /// <summary>For 16-bit operands: Q.</summary>
        public readonly T* QueryRows;

        /// <summary>Sᵀ, then Pᵀ: keys x queries.</summary>
        public readonly Matrix<T> Scores;

        /// <summary>O before its division by l.</summary>
        public readonly Matrix<T> Output;

        public readonly T* KeyPadding;
        public readonly T* ValuePadding;

        public readonly SoftmaxState<T> State;

        /// <summary>Of every panel the keys of the tile that its queries see.</summary>
        public readonly Visibility.Part* Parts;

        /// <summary>For the score program: what lies across the lanes.</summary>
        public readonly T* Staged;

        /// <summary>Where the program last found a part of such a matrix.</summary>
        public readonly Found* Found;

        /// <summary>The part of it that the program will read for a panel: short runs of many rows, each on a page of its own.</summary>
        public readonly Ahead AheadOfProgram = new(lines: 32);

        /// <summary>What comes after this key-value tile.</summary>
        public readonly Ahead Ahead = new(lines: 16);

        /// <summary>For dropout: random words.</summary>
        public readonly uint* Words;

        /// <summary>The key tiles to visit.</summary>
        public readonly List<(int Tile, TileClass Class)> Visits = [];

        public Tile(ForwardPass<L, V, T> pass, Scratch.Cursor scratch)
        {
            int queries = Product<L, V, T>.PadPanels(pass._sizes.Queries), keys = Product<L, V, T>.PadRows(pass._sizes.Keys);
            int stride = Product<L, V, T>.OddLines(queries);
            Query = scratch.Take<T>(pass._products.PackedSize(pass._sizes.Queries, pass._problem.HeadDim));
            QueryRows = scratch.Take<T>(pass._problem.ElementType.IsHalfWidth() ? (long)queries * pass._problem.HeadDim : 0);
            Scores = new(scratch.Take<T>((long)keys * stride), stride);
            Output = new(scratch.Take<T>((long)Product<L, V, T>.PadRows(queries) * pass._valueColumns), pass._valueColumns);
            KeyPadding = scratch.Take<T>((long)keys * Product<L, V, T>.PadColumns(pass._problem.HeadDim));
            ValuePadding = scratch.Take<T>((long)keys * pass._valueColumns);
            State = new(scratch.Take<T>(queries), scratch.Take<T>(queries), scratch.Take<T>(queries), scratch.Take<T>(queries));
            Parts = scratch.Take<Visibility.Part>(queries / Product<L, V, T>.Width);
            Staged = scratch.Take<T>((long)pass._score.StagedTiles * StagedKeys * Product<L, V, T>.Width);
            Found = scratch.Take<Found>(1);
            Words = scratch.Take<uint>(pass._problem.Dropout > 0 ? DropoutStrip<L, V, T>.Words : 0);
        }
    }

    /// <summary>Where an element of a matrix lies that a program reads across the lanes.</summary>
    /// <param name="From">Its address.</param>
    /// <param name="Stride">Bytes from one query to the next.</param>
    /// <param name="Size">Bytes from one key to the next.</param>
    /// <param name="Key">Its key.</param>
    /// <param name="Query">Its query.</param>
    private readonly record struct Found(nint From, nint Stride, int Size, int Key, int Query);

    private void QueryTile(int head, int index, in Tile t)
    {
        int first = index * _sizes.Queries, queries = Math.Min(_sizes.Queries, _problem.QueryLength - first);
        Stored<T> key = Stored<T>.OfKeyHead(_arguments.Key, head, _problem), value = Stored<T>.OfKeyHead(_arguments.Value, head, _problem);
        *t.Found = default;
        Packed<T> query = _products.Pack(
            Stored<T>.OfHead(_arguments.Query, head, _problem).From(first), queries, _problem.HeadDim, Exponential.Sign<T>(_score.ExponentScale), t.Query, t.QueryRows);
        Begin(queries, t);
        _score.Visibility.KeyTiles(head, first, queries, _sizes.Keys, t.Visits);
        for (int visit = 0; visit < t.Visits.Count; visit++)
        {
            (int keyTile, TileClass tileClass) = t.Visits[visit];
            LookAhead(head, first, queries, visit, t);
            int start = keyTile * _sizes.Keys, count = Math.Min(_sizes.Keys, _problem.KeyLength - start);
            Cover tile = _score.Visibility.Cover.Tile(first, queries, start, count);
            count = tile.EndKeyOf(queries - 1);
            tile = tile.Tile(0, queries, 0, count);
            Matrix<T> k = _products.Rows(key.From(start), count, _problem.KeyLength - start, _problem.HeadDim, t.KeyPadding);
            Matrix<T> v = _products.Columns(value.From(start), count, _problem.ValueDim, t.ValuePadding);
            for (int x = 0; x < queries; x += Product<L, V, T>.Width)
            {
                int columns = Math.Min(Product<L, V, T>.Width, Product<L, V, T>.PadColumns(queries - x));
                Cover panel = tile.Tile(x, Math.Min(columns, queries - x), 0, count);
                Visibility.Part part = _score.Visibility.Trim(head, first + x, panel.Queries, start, count, ofKeys: true, tileClass);
                t.Parts[x / Product<L, V, T>.Width] = part;
                TileProgram? code = _score.Code(ScorePass.Modify, part.Class);
                // Whether the product stores S as it is: nothing becomes of it, and no row lies in its register tiles that is not of the panel.
                bool isPlain = _products.HasMaxima && code is null && panel.IsAll && part is { From: 0, Class: TileClass.All } && part.To == count
                    && (Product<L, V, T>.PadRows(count) == count || start + count == _problem.KeyLength);
                (int from, int to) = Scores(panel, part, k, query, start, first, x, columns, isPlain, t);
                if (from < to)
                {
                    Matrix<T> s = t.Scores.From(from, x);
                    if (code is not null)
                        Modify(code, s, to - from, panel.Queries, head, start + from, first + x, t);
                    Hide(panel, x, from, to, t);
                    if (!isPlain)
                        Strip<L, V, T>.Maximum(s, to - from, columns, t.State.Max + x);
                    if (Strip<L, V, T>.Softmax(s, to - from, columns, t.State.From(x), _factor))
                        RescaleOutput(x, panel.Queries, t);
                    if (_problem.Dropout > 0)
                        DropoutStrip<L, V, T>.DropTransposed(s, to - from, columns, _problem, head, start + from, first + x, t.Words);
                    _products.PairRows(t.Scores.From(0, x), from, to, columns, t.Scores.From(0, x));
                }
                if (tileClass == TileClass.Some)
                    Clear(part, count, x, columns, t);
            }
            AddValues(tile, tileClass, v, t);
        }
        End(head, first, queries, t);
    }

    /// <summary>Asks for K and V of the next visit, or, at the last one, for O and for what the next query tile, whoever takes it, begins with.</summary>
    private void LookAhead(int head, int first, int queries, int visit, in Tile t)
    {
        t.Ahead.Clear();
        if (!_isFar)
            return;
        if (visit + 1 < t.Visits.Count)
        {
            KeyTile(head, t.Visits[visit + 1].Tile, t.Ahead);
            return;
        }
        t.Ahead.Add(Stored<T>.OfHead(_arguments.Output, head, _problem).From(first), queries, _problem.ValueDim);
        long item = Volatile.Read(ref _next);
        if (item >= Items)
            return;
        (head, first) = ((int)(item / _queryTiles), (_queryTiles - 1 - (int)(item % _queryTiles)) * _sizes.Queries);
        t.Ahead.Add(Stored<T>.OfHead(_arguments.Query, head, _problem).From(first), Math.Min(_sizes.Queries, _problem.QueryLength - first), _problem.HeadDim);
        KeyTile(head, _score.Visibility.Cover.FirstKeyOf(first) / _sizes.Keys, t.Ahead);

        void KeyTile(int head, int tile, Ahead ahead)
        {
            int start = tile * _sizes.Keys, count = Math.Min(_sizes.Keys, _problem.KeyLength - start);
            ahead.Add(Stored<T>.OfKeyHead(_arguments.Key, head, _problem).From(start), count, _problem.HeadDim);
            ahead.Add(Stored<T>.OfKeyHead(_arguments.Value, head, _problem).From(start), count, _problem.ValueDim);
        }
    }

    /// <summary>O = 0, l = 0, m = -inf (finite, so that a difference of two of them is no NaN).</summary>
    private void Begin(int queries, in Tile t)
    {
        int padded = Product<L, V, T>.PadPanels(queries);
        T lowest = T.BitIncrement(T.NegativeInfinity);
        new Span<T>(t.State.Max, padded).Fill(lowest);
        new Span<T>(t.State.M, padded).Fill(lowest);
        new Span<T>(t.State.Sum, padded).Clear();
        new Span<T>(t.Output.Data, Product<L, V, T>.PadRows(queries) * _valueColumns).Clear();
    }

    /// <summary>
    /// Sᵀ = K Qᵀ for the queries x .. of a panel. Registers and keys that none of them needs are left out; it returns the range of keys that
    /// were not, with those that a register tile of P V which has a query of this panel goes through. Max is raised where nothing becomes of S.
    /// </summary>
    [MethodImpl(Jit.Alone)]
    private (int From, int To) Scores(Cover panel, Visibility.Part part, Matrix<T> key, Packed<T> query, int start, int first, int x, int columns, bool isPlain, in Tile t)
    {
        const int six = Product<L, V, T>.TileRows;
        int from = Math.Max(part.From, panel.FirstKeyOf(1 - six)), to = Math.Min(part.To, panel.EndKeyOf(panel.Queries + six - 2));
        int seen = Math.Min(part.To, panel.EndKeyOf(panel.Queries - 1)), r = Math.Max(part.From, panel.FirstKeyOf(0)) / six * six;
        Ahead ahead = t.Ahead;
        if (t.Found->From != 0)
        {
            ahead = t.AheadOfProgram;
            ahead.Clear();
            ahead.Add((byte*)t.Found->From + (first + x - t.Found->Query) * t.Found->Stride + (nint)(start - t.Found->Key) * t.Found->Size, t.Found->Stride, to * t.Found->Size, panel.Queries);
        }
        // Six keys at a time, in one go where all queries see them.
        int common = panel.FirstKeyOf(panel.Queries - 1), end = panel.IsAll ? Product<L, V, T>.PadRows(seen) : Math.Min(seen, panel.EndKeyOf(0)) / six * six;
        while (r < seen)
        {
            int skip = 0, blocks = 1, width = columns;
            if (r >= common && r < end)
            {
                blocks = (end - r) / six;
            }
            else
            {
                skip = panel.FirstQueryOf(r) / L.Count * L.Count;
                width = Math.Min(columns, Product<L, V, T>.PadColumns(panel.EndQueryOf(r + six - 1)));
            }
            if (width > skip)
            {
                int rows = Math.Min(blocks * six, _products.PadRows(panel.Keys) - r);
                _products.Panel(width - skip, key.From(r), rows, query, x + skip, t.Scores.From(r, x + skip), _problem.HeadDim, isPlain ? t.State.Max + x : null, ahead);
            }
            r += blocks * six;
        }
        return (from, to);
    }

    /// <summary>S = modify(S) for so many keys and queries from the given ones on, -inf for pairs that a condition of the program hides.</summary>
    private void Modify(TileProgram code, Matrix<T> scores, int keys, int queries, int head, int key, int query, in Tile t)
    {
        TileArguments arguments = _score.Arguments(scores, scores, 0, queries, key, query, head, t.Staged, Product<L, V, T>.Width);
        // What lies across the lanes is transposed into scratch memory: a part of it at a time, so that the panel stays in the first-level cache.
        for (int rows = _score.StagedTiles > 0 ? StagedKeys : keys; keys > 0; keys -= rows)
        {
            arguments.Rows = Math.Min(rows, keys);
            code.Run(ref arguments);
            *t.Found = new((nint)arguments.StagedFrom, arguments.StagedFromStride, arguments.StagedFromSize, arguments.FirstRow, arguments.FirstLane);
            arguments.FirstRow += rows;
            arguments.Raw = arguments.Scores = (T*)arguments.Scores + rows * scores.Stride;
        }
    }

    /// <summary>S = -inf for pairs outside of the band, of the keys from .. to - 1 and the queries x .. of a panel.</summary>
    [MethodImpl(Jit.Alone)]
    private static void Hide(Cover panel, int x, int from, int to, in Tile t)
    {
        for (int j = from; j < Math.Min(to, panel.FirstKeyOf(panel.Queries - 1)); j++)
            t.Scores.Span(j, x + panel.EndQueryOf(j), Product<L, V, T>.PadColumns(panel.Queries) - panel.EndQueryOf(j)).Fill(T.NegativeInfinity);
        for (int j = Math.Max(from, panel.EndKeyOf(0)); j < to; j++)
            t.Scores.Span(j, x, panel.FirstQueryOf(j)).Fill(T.NegativeInfinity);
    }

    /// <summary>P = 0 for the keys of a tile that no query of a panel sees: a register tile of P V may begin in this panel and end in the next.</summary>
    private void Clear(Visibility.Part part, int keys, int x, int columns, in Tile t)
    {
        (int from, int depth) = _products.Range(part.From, part.To);
        for (int j = 0; j < from; j++)
            t.Scores.Span(j, x, columns).Clear();
        for (int j = from + depth; j < _products.Depth(keys); j++)
            t.Scores.Span(j, x, columns).Clear();
    }

    /// <summary>O = diag(exp(m - m')) O, for the queries x .. of a panel.</summary>
    [MethodImpl(Jit.Alone)]
    private void RescaleOutput(int x, int queries, in Tile t)
    {
        for (int i = x; i < x + queries; i++)
        {
            if (t.State.Rescale[i] != T.One)
                Packing<L, V, T>.Copy(t.Output.From(i), t.Output.From(i), 1, _valueColumns, t.State.Rescale[i]);
        }
    }

    /// <summary>O += P V, as many queries at a time as go together over the keys that one of them sees.</summary>
    private void AddValues(Cover tile, TileClass tileClass, Matrix<T> value, in Tile t)
    {
        bool isWhole = tile.IsAll && tileClass == TileClass.All;
        int rows = _products.QueryRows, blocks = isWhole ? (tile.Queries + rows - 1) / rows : 1;
        for (int i = 0; i < tile.Queries; i += blocks * rows)
        {
            int last = Math.Min(i + rows, tile.Queries) - 1, from = 0, to = tile.Keys;
            if (!isWhole)
            {
                Visibility.Part a = t.Parts[i / Product<L, V, T>.Width], b = t.Parts[last / Product<L, V, T>.Width];
                from = Math.Max(tile.FirstKeyOf(i), a.IsEmpty ? b.From : b.IsEmpty ? a.From : Math.Min(a.From, b.From));
                to = Math.Min(tile.EndKeyOf(last), Math.Max(a.To, b.To));
            }
            (int first, int depth) = _products.Range(from, to);
            if (from < to)
                _products.AddToQueries(_valueColumns, t.Scores.Row(first) + i, 1, t.Scores.Stride, value.From(first), t.Output.From(i), depth, blocks, t.Ahead);
        }
    }

    /// <summary>
    /// O / l to where the caller wants it, and (m, l), with the sink as one more key. A row that attends to nothing, for want of keys or
    /// because every score is -inf, is 0.
    /// </summary>
    [MethodImpl(Jit.Alone)]
    private void End(int head, int first, int queries, in Tile t)
    {
        Stored<T> output = Stored<T>.OfHead(_arguments.Output, head, _problem).From(first);
        nint statistics = (nint)head * _problem.QueryLength + first;
        T* m = (T*)_arguments.Statistics.Max + statistics, l = (T*)_arguments.Statistics.Sum + statistics;
        T kept = T.CreateChecked(Dropout.Factor(_problem.Dropout));
        T sink = _problem.HasSinks ? Exponential.Unscaled(((T*)_arguments.Sinks)[head % _problem.Heads], _factor) : T.NegativeInfinity;
        for (int i = 0; i < queries && sink != T.NegativeInfinity; i++)
            t.State.Max[i] = t.State.Sum[i] == T.Zero ? sink : T.Max(t.State.Max[i], sink);
        for (int i = 0; i < queries; i += L.Count) // l relative to the maximum is exp(m - max) times that to m
            L.Store(t.State.Rescale + i, Exponential.Weight<L, V, T>(L.Load(t.State.M + i), L.Load(t.State.Max + i), L.Broadcast(_factor)));
        for (int i = 0; i < queries; i++)
        {
            T sum = t.State.Sum[i];
            if (sum == T.Zero && sink == T.NegativeInfinity)
            {
                output.Clear(i, _problem.ValueDim);
                (m[i], l[i]) = (T.NegativeInfinity, T.Zero);
                continue;
            }
            m[i] = t.State.Max[i];
            if (sink == T.NegativeInfinity)
            {
                Packing<L, V, T>.Store(t.Output.From(i), output.From(i), 1, _problem.ValueDim, kept / sum);
                l[i] = sum * t.State.Rescale[i];
            }
            else
            {
                T rescale = sum == T.Zero ? T.Zero : t.State.Rescale[i];
                l[i] = sum * rescale + Exponential.Weight(sink, m[i], _factor);
                Packing<L, V, T>.Store(t.Output.From(i), output.From(i), 1, _problem.ValueDim, kept * rescale / l[i]);
            }
        }
    }
}
