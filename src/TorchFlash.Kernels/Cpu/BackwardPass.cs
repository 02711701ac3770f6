using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;
using TorchFlash.Kernels.Cpu.Tiles;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// dQ, dK and dV with S and P recomputed tile by tile from (m, l) (FlashAttention-2, algorithm 2): the key-value tile stays, query tiles
/// pass by.
/// <code>
/// P  = exp(scale Q Kᵀ - |scale| m) / l       delta = rowsum(dO o O)
/// dV += Pᵀ dO
/// dS = P o (dO Vᵀ - delta)                   (over P in place)
/// dK += dSᵀ Q                                (times scale at the end)
/// dQ += dS K                                 (times scale at the end)
/// </code>
/// </summary>
/// <remarks>
/// Kᵀ and Vᵀ are packed once per key-value tile, which all query heads of its group pass by one after the other: dK and dV are summed
/// over the group in that order. Workers take heads of key and value; when
/// none is left they help with the key-value tiles of others. dQ is summed in place, key-value tile by key-value tile: each query tile
/// has a turn counter, so that the order of its sums does not depend on who computes them, and no second dQ exists.
/// </remarks>
internal sealed unsafe class BackwardPass<V, T>
    where V : unmanaged, ILanes<V, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly AttentionProblem _problem;
    private readonly BackwardArguments _arguments;
    private readonly T _scale;
    private readonly TileSizes _sizes;
    private readonly int _heads;
    private readonly int _keyHeads;
    private readonly int _queryTiles;
    private readonly int _keyTiles;
    private readonly int _paddedDim;
    private readonly int _paddedValueDim;
    private readonly int _scoreStride;

    /// <summary>m, 1/l and delta of every query tile, three times <see cref="_rowsPerTile"/> elements each.</summary>
    private readonly T* _rowScalars;

    private readonly int _rowsPerTile;

    /// <summary>Next key-value tile to be taken of every head of key and value.</summary>
    private readonly int[] _nextKeyTile;

    /// <summary>Key-value tiles whose dS K every query tile has received.</summary>
    private readonly int[] _turn;

    private int _nextKeyHead;

    /// <summary>Set when a worker has thrown: those that wait for its turn give up.</summary>
    private volatile bool _isFaulted;

    /// <summary>Register tiles between two rounds of prefetching.</summary>
    private const int BlocksPerCall = 8;

    private BackwardPass(in AttentionProblem problem, in BackwardArguments arguments, T* rowScalars)
    {
        _problem = problem;
        _arguments = arguments;
        _scale = T.CreateChecked(problem.Scale);
        _sizes = TileSizes.Backward(problem, sizeof(T));
        _heads = problem.Batch * problem.Heads;
        _keyHeads = problem.Batch * problem.KeyHeadCount;
        _queryTiles = QueryTiles(problem, _sizes);
        _keyTiles = (problem.KeyLength + _sizes.Keys - 1) / _sizes.Keys;
        _paddedDim = Panels<V, T>.PadColumns(problem.HeadDim);
        _paddedValueDim = Panels<V, T>.PadColumns(problem.ValueDim);
        _scoreStride = Panels<V, T>.OddLines(_sizes.Keys);
        _rowScalars = rowScalars;
        _rowsPerTile = Panels<V, T>.PadRows(_sizes.Queries);
        _nextKeyTile = new int[_keyHeads];
        _turn = new int[checked(_heads * _queryTiles)];
    }

    private static int QueryTiles(in AttentionProblem problem, TileSizes sizes) => (problem.QueryLength + sizes.Queries - 1) / sizes.Queries;

    private static int RowScalars(TileSizes sizes) => 3 * Panels<V, T>.PadRows(sizes.Queries);

    public static void Run(in AttentionProblem problem, in BackwardArguments arguments, int threads)
    {
        long scalars = (long)problem.Batch * problem.Heads * QueryTiles(problem, TileSizes.Backward(problem, sizeof(T))) * RowScalars(TileSizes.Backward(problem, sizeof(T)));
        using var scratch = Scratch.Rent(Scratch.Bytes<T>(scalars));
        var pass = new BackwardPass<V, T>(problem, arguments, scratch.Take<T>(scalars));
        if (pass._keyTiles == 0)
            pass.ClearQueryGradients(0, problem.QueryLength);
        else
            WorkerPool.Run((int)Math.Min(threads, (long)pass._keyHeads * pass._keyTiles), pass.Work);
    }

    private void Work()
    {
        try
        {
            TakeHeads();
        }
        catch
        {
            _isFaulted = true;
            throw;
        }
    }

    private void TakeHeads()
    {
        using var scratch = Scratch.Rent(Workspace.Bytes(this));
        var workspace = new Workspace(this, scratch);
        for (int keyHead; (keyHead = Interlocked.Increment(ref _nextKeyHead) - 1) < _keyHeads;)
            TakeKeyTiles(keyHead, workspace);
        // Help the others, every worker from another head on.
        int start = (Environment.CurrentManagedThreadId & int.MaxValue) % Math.Max(1, _keyHeads);
        for (int i = 0; i < _keyHeads; i++)
            TakeKeyTiles((start + i) % _keyHeads, workspace);
    }

    private void TakeKeyTiles(int keyHead, in Workspace workspace)
    {
        for (int tile; (tile = Interlocked.Increment(ref _nextKeyTile[keyHead]) - 1) < _keyTiles;)
            KeyTile(keyHead, tile, workspace);
        Volatile.Write(ref _nextKeyTile[keyHead], _keyTiles); // no overflow however often others look
    }

    /// <summary>The state of one key-value tile, and of the query tile that passes by.</summary>
    private readonly struct Workspace
    {
        /// <summary>± Kᵀ in panels.</summary>
        public readonly T* KeyTransposed;

        /// <summary>Vᵀ in panels.</summary>
        public readonly T* ValueTransposed;

        /// <summary>P, then dS: queries x keys.</summary>
        public readonly T* Scores;

        public readonly T* KeyPadding;
        public readonly T* KeyGradient;
        public readonly T* ValueGradient;
        public readonly T* QueryPadding;
        public readonly T* OutputGradientPadding;
        public readonly T* QueryGradient;

        /// <summary>m, 1/l and delta of the query tile, <see cref="Epilogue.Stride"/> apart.</summary>
        public readonly T* Scalars;

        /// <summary>Constants of the exponential.</summary>
        public readonly T* Exponent;

        public Workspace(BackwardPass<V, T> pass, Scratch scratch)
        {
            Lengths n = new(pass);
            KeyTransposed = scratch.Take<T>(n.KeyTransposed);
            ValueTransposed = scratch.Take<T>(n.ValueTransposed);
            Scores = scratch.Take<T>(n.Scores);
            KeyPadding = scratch.Take<T>(n.Key);
            KeyGradient = scratch.Take<T>(n.Key);
            ValueGradient = scratch.Take<T>(n.Value);
            QueryPadding = scratch.Take<T>(n.Query);
            OutputGradientPadding = scratch.Take<T>(n.Output);
            QueryGradient = scratch.Take<T>(n.Query);
            Scalars = scratch.Take<T>(3 * Epilogue.Stride);
            Exponent = Cpu.Exponent.Write(scratch.Take<T>(Cpu.Exponent.Length<T>()), pass._problem.Scale);
        }

        public static nuint Bytes(BackwardPass<V, T> pass)
        {
            Lengths n = new(pass);
            return Scratch.Bytes<T>(n.KeyTransposed) + Scratch.Bytes<T>(n.ValueTransposed) + Scratch.Bytes<T>(n.Scores) + 2 * Scratch.Bytes<T>(n.Key)
                + Scratch.Bytes<T>(n.Value) + 2 * Scratch.Bytes<T>(n.Query) + Scratch.Bytes<T>(n.Output)
                + Scratch.Bytes<T>(3 * Epilogue.Stride) + Scratch.Bytes<T>(Cpu.Exponent.Length<T>());
        }

        private readonly struct Lengths(BackwardPass<V, T> pass)
        {
            private readonly long _queryRows = Panels<V, T>.PadRows(pass._sizes.Queries);
            private readonly long _keyRows = Panels<V, T>.PadRows(pass._sizes.Keys);
            private readonly long _keyColumns = Panels<V, T>.RoundUp(pass._sizes.Keys, Panels<V, T>.Width);

            public long KeyTransposed => _keyColumns * pass._problem.HeadDim;

            public long ValueTransposed => _keyColumns * pass._problem.ValueDim;

            public long Scores => _queryRows * pass._scoreStride;

            public long Key => _keyRows * pass._paddedDim;

            public long Value => _keyRows * pass._paddedValueDim;

            public long Query => _queryRows * pass._paddedDim;

            public long Output => _queryRows * pass._paddedValueDim;
        }
    }

    private void KeyTile(int keyHead, int tile, in Workspace w)
    {
        int start = tile * _sizes.Keys, count = Math.Min(_sizes.Keys, _problem.KeyLength - start), keyHeads = _problem.KeyHeadCount, group = _problem.Group;
        Rows<T> key = Rows<T>.OfHead(_arguments.Key, keyHead, keyHeads).From(start), value = Rows<T>.OfHead(_arguments.Value, keyHead, keyHeads).From(start);
        Packing<V, T>.Transpose(key.Data, key.Stride, count, _problem.HeadDim, Exponent.Sign<T>(_problem.Scale), w.KeyTransposed);
        Packing<V, T>.Transpose(value.Data, value.Stride, count, _problem.ValueDim, T.One, w.ValueTransposed);
        key = Packing<V, T>.Pad(key, count, int.MaxValue, _problem.HeadDim, w.KeyPadding);
        new Span<T>(w.KeyGradient, Panels<V, T>.PadRows(count) * _paddedDim).Clear();
        new Span<T>(w.ValueGradient, Panels<V, T>.PadRows(count) * _paddedValueDim).Clear();

        // The first query that sees a key of this tile; query tiles before it are not touched.
        int firstQuery = (int)Math.Clamp((long)start - _problem.DiagonalOffset, 0, _problem.QueryLength);
        for (int head = keyHead * group; head < (keyHead + 1) * group; head++)
        {
            if (tile == 0)
                ClearQueryGradients(head, firstQuery / _sizes.Queries * _sizes.Queries);
            for (int q = firstQuery < _problem.QueryLength ? firstQuery / _sizes.Queries : _queryTiles; q < _queryTiles; q++)
                PassBy(head, q, tile, key, start, count, w);
        }

        Rows<T> keyGradient = Rows<T>.OfHead(_arguments.KeyGradient, keyHead, keyHeads).From(start);
        Packing<V, T>.Copy(new(w.KeyGradient, _paddedDim), keyGradient, count, _problem.HeadDim);
        Packing<V, T>.Scale(keyGradient, count, _problem.HeadDim, _scale);
        Packing<V, T>.Copy(new(w.ValueGradient, _paddedValueDim), Rows<T>.OfHead(_arguments.ValueGradient, keyHead, keyHeads).From(start), count, _problem.ValueDim);
    }

    /// <summary>A query tile as a key-value tile sees it.</summary>
    private readonly struct QueryTile
    {
        public required Rows<T> Query { get; init; }

        public required Rows<T> OutputGradient { get; init; }

        public required Rows<T> QueryGradient { get; init; }

        /// <summary>Q and dO of the next tile, to be prefetched.</summary>
        public required Rows<T> NextQuery { get; init; }

        public required Rows<T> NextOutputGradient { get; init; }

        public required int NextRows { get; init; }

        /// <summary>m, 1/l and delta.</summary>
        public required T* Scalars { get; init; }

        public required int Rows { get; init; }

        /// <summary>Keys of the key-value tile.</summary>
        public required int Count { get; init; }

        /// <summary>Query i of this tile sees the keys 0 .. i + Diagonal of the key-value tile.</summary>
        public required int Diagonal { get; init; }

        /// <summary>Whether there is a query that does not see all keys.</summary>
        public bool IsMasked => Count - 1 > Diagonal;
    }

    private void PassBy(int head, int index, int keyTile, Rows<T> key, int start, int count, in Workspace w)
    {
        int first = index * _sizes.Queries, rows = Math.Min(_sizes.Queries, _problem.QueryLength - first), available = _problem.QueryLength - first;
        Rows<T> query = Rows<T>.OfHead(_arguments.Query, head, _problem.Heads).From(first);
        Rows<T> gradient = Rows<T>.OfHead(_arguments.OutputGradient, head, _problem.Heads).From(first);
        var tile = new QueryTile
        {
            Query = Packing<V, T>.Pad(query, rows, available, _problem.HeadDim, w.QueryPadding),
            OutputGradient = Packing<V, T>.Pad(gradient, rows, available, _problem.ValueDim, w.OutputGradientPadding),
            QueryGradient = Rows<T>.OfHead(_arguments.QueryGradient, head, _problem.Heads).From(first),
            NextQuery = query.From(rows),
            NextOutputGradient = gradient.From(rows),
            NextRows = Math.Min(_sizes.Queries, available - rows),
            Scalars = w.Scalars,
            Rows = rows,
            Count = count,
            Diagonal = first + _problem.DiagonalOffset - start,
        };
        ref int turn = ref _turn[head * _queryTiles + index];
        T* scalars = _rowScalars + ((nint)head * _queryTiles + index) * 3 * _rowsPerTile;
        if (keyTile == 0)
            SetRowScalars(head, first, rows, scalars);
        else
            Wait(ref turn, 1);
        for (int i = 0; i < 3; i++)
            new Span<T>(scalars + i * _rowsPerTile, _rowsPerTile).CopyTo(new Span<T>(w.Scalars + i * Epilogue.Stride, _rowsPerTile));

        // Where scores are masked beyond the diagonal, and weights dropped out, is between these steps: P before dV, dP before dS.
        Probabilities(tile, w);
        AddToKeySide(tile, tile.OutputGradient, w.ValueGradient, _paddedValueDim, w);
        ScoreGradients(tile, w);
        AddToKeySide(tile, tile.Query, w.KeyGradient, _paddedDim, w);
        Wait(ref turn, keyTile);
        AddToQueryGradient(tile, key, keyTile == 0, w);
        if (keyTile == _keyTiles - 1 || tile.Diagonal + rows - 1 < count)
            Packing<V, T>.Scale(tile.QueryGradient, rows, _problem.HeadDim, _scale); // no later tile holds a key that these queries see
        Volatile.Write(ref turn, keyTile + 1);
    }

    /// <summary>P = 2^(factor (± Q Kᵀ - m)) / l</summary>
    private void Probabilities(in QueryTile tile, in Workspace w)
        => Scores<Probability<V, T>>(tile, tile.Query, tile.NextQuery, w.KeyTransposed, _problem.HeadDim, tile.Scalars, w);

    /// <summary>dS = P o (dO Vᵀ - delta), over P</summary>
    private void ScoreGradients(in QueryTile tile, in Workspace w)
        => Scores<ScoreGradient<V, T>>(tile, tile.OutputGradient, tile.NextOutputGradient, w.ValueTransposed, _problem.ValueDim, tile.Scalars + 2 * Epilogue.Stride, w);

    /// <summary>Queries x keys: A times a packed operand; register tiles that the mask hides are left out.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Scores<E>(in QueryTile tile, Rows<T> a, Rows<T> next, T* packed, int d, T* scalars, in Workspace w)
        where E : struct, IEpilogue<V, T>
    {
        int columns = Panels<V, T>.PadColumns(tile.Count);
        for (int x = 0; x < columns; x += Panels<V, T>.Width)
        {
            int vectors = Math.Min(Panels<V, T>.Width, columns - x) / V.Count;
            for (int r = 0, blocks; r < tile.Rows; r += blocks * Panels<V, T>.TileRows)
            {
                int visible = VisibleVectors(r, x, columns, tile.Diagonal); // by six queries; by all that follow if it is all
                blocks = visible < vectors ? 1 : Math.Min(BlocksPerCall, (tile.Rows - r + Panels<V, T>.TileRows - 1) / Panels<V, T>.TileRows);
                if (x == 0)
                    Prefetch.Rows(next, r, blocks * Panels<V, T>.TileRows, tile.NextRows, d);
                if (visible > 0)
                    Panels<V, T>.Tile<E>(visible, a.At(r), a.Stride, 1, packed + (nint)x * d, Panels<V, T>.Width, w.Scores + (nint)r * _scoreStride + x, _scoreStride, d,
                        scalars + r, w.Exponent, blocks);
            }
        }
    }

    /// <summary>Registers of the panel at key x that hold a key which one of the queries r .. r + 5 sees.</summary>
    private static int VisibleVectors(int r, int x, int columns, int diagonal)
    {
        int last = r + Panels<V, T>.TileRows - 1 + diagonal - x; // last visible key, from x on
        return last < 0 ? 0 : Math.Min(Math.Min(Panels<V, T>.Width, columns - x), last / V.Count * V.Count + V.Count) / V.Count;
    }

    /// <summary>dV += Pᵀ dO, or dK += dSᵀ Q</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AddToKeySide(in QueryTile tile, Rows<T> x, T* gradient, int columns, in Workspace w)
    {
        int padded = Panels<V, T>.PadRows(tile.Count);
        // Blocks of six keys that every query sees.
        int whole = tile.IsMasked ? Math.Clamp((tile.Diagonal + 1) / Panels<V, T>.TileRows, 0, tile.Count / Panels<V, T>.TileRows) : padded / Panels<V, T>.TileRows;
        if (whole > 0)
            Panels<V, T>.Rows<Accumulate<V, T>>(columns, w.Scores, 1, _scoreStride, x.Data, x.Stride, gradient, columns, tile.Rows, null, whole);
        for (int r = whole * Panels<V, T>.TileRows; r < tile.Count; r += Panels<V, T>.TileRows)
        {
            int last = Math.Min(Panels<V, T>.TileRows, tile.Count - r) - 1;
            int common = Math.Clamp(r + last - tile.Diagonal, 0, tile.Rows); // the first query that sees all of the keys r .. r + last
            T* to = gradient + (nint)r * columns;
            if (common < tile.Rows)
            {
                Panels<V, T>.Rows<Accumulate<V, T>>(columns, w.Scores + (nint)common * _scoreStride + r, 1, _scoreStride, x.At(common), x.Stride, to, columns,
                    tile.Rows - common, null, 1);
            }
            for (int t = 0; t < last && common > 0; t++)
                Panels<V, T>.Row(columns, w.Scores + r + t, _scoreStride, x.Data, x.Stride, to + t * columns, Math.Clamp(r + t - tile.Diagonal, 0, tile.Rows), common);
        }
    }

    /// <summary>dQ += dS K, the first time dQ = dS K</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AddToQueryGradient(in QueryTile tile, Rows<T> key, bool isFirst, in Workspace w)
    {
        bool inPlace = _problem.HeadDim == _paddedDim && tile.Rows % Panels<V, T>.TileRows == 0;
        Rows<T> to = inPlace ? tile.QueryGradient : new(w.QueryGradient, _paddedDim);
        int padded = Panels<V, T>.PadRows(tile.Rows);
        if (isFirst || !inPlace)
        {
            for (int r = 0; r < padded; r++)
                new Span<T>(to.At(r), _paddedDim).Clear();
        }
        for (int r = 0, blocks; r < tile.Rows; r += blocks * Panels<V, T>.TileRows)
        {
            T* ds = w.Scores + (nint)r * _scoreStride;
            int common = Math.Clamp(r + tile.Diagonal + 1, 0, tile.Count); // keys that all six rows see; all of them, then all rows that follow do
            blocks = common == tile.Count ? (tile.Rows - r + Panels<V, T>.TileRows - 1) / Panels<V, T>.TileRows : 1;
            if (common > 0)
                Panels<V, T>.Rows<Accumulate<V, T>>(_paddedDim, ds, _scoreStride, 1, key.Data, key.Stride, to.At(r), to.Stride, common, null, blocks);
            for (int t = 1; t < Math.Min(Panels<V, T>.TileRows, tile.Rows - r) && common < tile.Count; t++)
                Panels<V, T>.Row(_paddedDim, ds + t * _scoreStride, 1, key.Data, key.Stride, to.At(r + t), common, Math.Clamp(r + t + tile.Diagonal + 1, 0, tile.Count));
        }
        if (!inPlace)
            Packing<V, T>.Copy(to, tile.QueryGradient, tile.Rows, _problem.HeadDim, add: !isFirst);
    }

    /// <summary>m, 1/l and delta = rowsum(dO o O)</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void SetRowScalars(int head, int first, int rows, T* scalars)
    {
        Rows<T> output = Rows<T>.OfHead(_arguments.Output, head, _problem.Heads).From(first);
        Rows<T> gradient = Rows<T>.OfHead(_arguments.OutputGradient, head, _problem.Heads).From(first);
        nint statistics = (nint)head * _problem.QueryLength + first;
        T* max = (T*)_arguments.Statistics.Max + statistics, sum = (T*)_arguments.Statistics.Sum + statistics;
        for (int r = 0; r < rows; r++)
        {
            scalars[r] = max[r];
            scalars[r + _rowsPerTile] = T.One / sum[r];
            scalars[r + 2 * _rowsPerTile] = Dot(output.At(r), gradient.At(r), _problem.ValueDim);
        }
        for (int r = rows; r < _rowsPerTile; r++)
            scalars[r] = scalars[r + _rowsPerTile] = scalars[r + 2 * _rowsPerTile] = T.Zero;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static T Dot(T* a, T* b, int n)
    {
        V lanes = V.Zero;
        int x = 0;
        for (; x + V.Count <= n; x += V.Count)
            lanes = V.MultiplyAdd(V.Load(a + x), V.Load(b + x), lanes);
        T sum = V.Sum(lanes);
        for (; x < n; x++)
            sum += a[x] * b[x];
        return sum;
    }

    /// <summary>dQ = 0 for the first queries of a head (of all heads where there is no key), which see no key.</summary>
    private void ClearQueryGradients(int head, int queries)
    {
        int end = _keyTiles == 0 ? _heads : head + 1;
        for (int h = head; h < end; h++)
        {
            Rows<T> gradient = Rows<T>.OfHead(_arguments.QueryGradient, h, _problem.Heads);
            for (int r = 0; r < queries; r++)
                new Span<T>(gradient.At(r), _problem.HeadDim).Clear();
        }
    }

    private void Wait(ref int turn, int until)
    {
        var spin = new SpinWait();
        while (Volatile.Read(ref turn) < until)
        {
            if (_isFaulted)
                throw new OperationCanceledException("Another worker of this backward pass has failed.");
            spin.SpinOnce(-1);
        }
    }
}
