using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;
using TorchFlash.Kernels.Cpu.Tiles;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// O = softmax(scale Q Kᵀ) V, query tile by query tile (FlashAttention-2, algorithm 1), and (m, l) as <see cref="RowStatistics"/> has them.
/// </summary>
/// <remarks>
/// Tiles of S are computed transposed, Sᵀ = K Qᵀ: then m, l and the exponentials run along the lanes of a register, no operation
/// is horizontal, and K and V are used where they lie; only the small Qᵀ tile is packed. The sign of the scale goes
/// into the packing of Q, its magnitude into the exponent, after the subtraction of the maximum: scores of any size lose nothing, and
/// the backward pass computes the very same bits of Q Kᵀ.
/// </remarks>
internal sealed unsafe class ForwardPass<V, T>
    where V : unmanaged, ILanes<V, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>How far (in powers of 2) a maximum may outgrow the reference of the exponentials: relative errors stay what they are, nothing overflows.</summary>
    private static readonly T s_slack = T.CreateChecked(16);

    /// <summary>Register tiles between two rounds of prefetching.</summary>
    private const int BlocksPerCall = 8;

    private readonly AttentionProblem _problem;
    private readonly ForwardArguments _arguments;
    private readonly TileSizes _sizes;
    private readonly int _queryTiles;
    private readonly int _paddedValueDim;
    private readonly int _scoreStride;
    private long _next;

    private ForwardPass(in AttentionProblem problem, in ForwardArguments arguments)
    {
        _problem = problem;
        _arguments = arguments;
        _sizes = TileSizes.Forward(problem, sizeof(T));
        _queryTiles = (problem.QueryLength + _sizes.Queries - 1) / _sizes.Queries;
        _paddedValueDim = Panels<V, T>.PadColumns(problem.ValueDim);
        _scoreStride = Panels<V, T>.OddLines(_sizes.Queries);
    }

    public static void Run(in AttentionProblem problem, in ForwardArguments arguments, int threads)
    {
        var pass = new ForwardPass<V, T>(problem, arguments);
        WorkerPool.Run((int)Math.Min(threads, pass.Items), pass.Work);
    }

    private static int DiagonalLength => 4 * (Panels<V, T>.TileRows + Panels<V, T>.Width);

    private long Items => (long)_problem.Batch * _problem.Heads * _queryTiles;

    /// <summary>Takes query tiles head by head (K and V stay in cache), the longest rows of each head first.</summary>
    private void Work()
    {
        using var scratch = Scratch.Rent(Workspace.Bytes(this));
        var workspace = new Workspace(this, scratch);
        for (long item; (item = Interlocked.Increment(ref _next) - 1) < Items;)
            QueryTile((int)(item / _queryTiles), _queryTiles - 1 - (int)(item % _queryTiles), workspace);
    }

    /// <summary>The state of one query tile.</summary>
    private readonly struct Workspace
    {
        /// <summary>Qᵀ in panels.</summary>
        public readonly T* Query;

        /// <summary>Sᵀ, then Pᵀ: keys x queries.</summary>
        public readonly T* Scores;

        /// <summary>O before its division by l.</summary>
        public readonly T* Output;

        public readonly T* KeyPadding;
        public readonly T* ValuePadding;

        /// <summary>Reference of the exponentials: the running maximum, or an earlier one that it has not outgrown by more than the slack.</summary>
        public readonly T* Reference;

        /// <summary>Running maximum of Q Kᵀ (before scaling, like all maxima here).</summary>
        public readonly T* Max;

        /// <summary>Sum of this tile's exponentials.</summary>
        public readonly T* TileSum;

        /// <summary>l relative to the reference.</summary>
        public readonly T* Sum;

        /// <summary>2^(factor (old reference - new reference)).</summary>
        public readonly T* Rescale;

        /// <summary>Constants of the exponential.</summary>
        public readonly T* Exponent;

        /// <summary>-1 (masked) in the lower half, 0 in the upper one: read at an offset that falls from row to row it is a diagonal.</summary>
        public readonly T* Diagonal;

        /// <summary>Mask of a block that is not just a diagonal.</summary>
        public readonly T* Mask;

        public Workspace(ForwardPass<V, T> pass, Scratch scratch)
        {
            (long query, long scores, long output, long key, long value) = Lengths(pass);
            Query = scratch.Take<T>(query);
            Scores = scratch.Take<T>(scores);
            Output = scratch.Take<T>(output);
            KeyPadding = scratch.Take<T>(key);
            ValuePadding = scratch.Take<T>(value);
            Reference = scratch.Take<T>(3 * Epilogue.Stride);
            Max = Reference + Epilogue.Stride;
            TileSum = Reference + 2 * Epilogue.Stride;
            Sum = scratch.Take<T>(Epilogue.Stride);
            Rescale = scratch.Take<T>(Epilogue.Stride);
            Exponent = Cpu.Exponent.Write(scratch.Take<T>(Cpu.Exponent.Length<T>()), pass._problem.Scale);
            Diagonal = scratch.Take<T>(DiagonalLength);
            new Span<T>(Diagonal, DiagonalLength / 2).Fill(-T.One);
            new Span<T>(Diagonal + DiagonalLength / 2, DiagonalLength / 2).Clear();
            Mask = scratch.Take<T>(Panels<V, T>.TileRows * Panels<V, T>.Width);
        }

        public static nuint Bytes(ForwardPass<V, T> pass)
        {
            (long query, long scores, long output, long key, long value) = Lengths(pass);
            return Scratch.Bytes<T>(query) + Scratch.Bytes<T>(scores) + Scratch.Bytes<T>(output) + Scratch.Bytes<T>(key) + Scratch.Bytes<T>(value)
                + Scratch.Bytes<T>(3 * Epilogue.Stride) + 2 * Scratch.Bytes<T>(Epilogue.Stride)
                + Scratch.Bytes<T>(Cpu.Exponent.Length<T>()) + Scratch.Bytes<T>(DiagonalLength)
                + Scratch.Bytes<T>(Panels<V, T>.TileRows * Panels<V, T>.Width);
        }

        private static (long Query, long Scores, long Output, long Key, long Value) Lengths(ForwardPass<V, T> pass)
        {
            long queries = Panels<V, T>.PadRows(pass._sizes.Queries), keys = Panels<V, T>.PadRows(pass._sizes.Keys);
            return (Panels<V, T>.RoundUp(pass._sizes.Queries, Panels<V, T>.Width) * (long)pass._problem.HeadDim, keys * pass._scoreStride,
                queries * pass._paddedValueDim, keys * Panels<V, T>.PadColumns(pass._problem.HeadDim), keys * pass._paddedValueDim);
        }
    }

    private void QueryTile(int head, int index, in Workspace w)
    {
        int first = index * _sizes.Queries, rows = Math.Min(_sizes.Queries, _problem.QueryLength - first);
        // Query i of the tile sees keys 0 .. i + last.
        int last = first + _problem.DiagonalOffset;
        int keys = (int)Math.Clamp((long)last + rows, 0, _problem.KeyLength);
        Rows<T> key = Rows<T>.OfKeyHead(_arguments.Key, head, _problem), value = Rows<T>.OfKeyHead(_arguments.Value, head, _problem);

        Setup(Rows<T>.OfHead(_arguments.Query, head, _problem.Heads).From(first), rows, w);
        for (int start = 0; start < keys; start += _sizes.Keys)
        {
            int count = Math.Min(_sizes.Keys, keys - start), next = start + count;
            var tile = new KeyTile
            {
                Key = Packing<V, T>.Pad(key.From(start), count, _problem.KeyLength - start, _problem.HeadDim, w.KeyPadding),
                Value = Packing<V, T>.Pad(value.From(start), count, int.MaxValue, _problem.ValueDim, w.ValuePadding),
                NextKey = key.From(next),
                NextValue = value.From(next),
                NextCount = Math.Min(_sizes.Keys, keys - next),
                Count = count,
                Diagonal = last - start,
                IsFirst = start == 0,
            };
            Softmax(tile, rows, w); // its masked register tiles are where other masks go; dropout has its place after it, l being taken
            AddValues(tile, rows, w);
        }
        Finish(head, first, rows, last, w);
    }

    /// <summary>A key-value tile as a query tile sees it.</summary>
    private readonly struct KeyTile
    {
        public required Rows<T> Key { get; init; }

        public required Rows<T> Value { get; init; }

        /// <summary>K and V of the next tile, to be prefetched.</summary>
        public required Rows<T> NextKey { get; init; }

        public required Rows<T> NextValue { get; init; }

        public required int NextCount { get; init; }

        public required int Count { get; init; }

        /// <summary>Query i of the query tile sees the keys 0 .. i + Diagonal of this tile.</summary>
        public required int Diagonal { get; init; }

        /// <summary>Whether the query tile has seen no key so far.</summary>
        public required bool IsFirst { get; init; }

        /// <summary>Whether there is a query that does not see all keys.</summary>
        public bool IsMasked => Count - 1 > Diagonal;
    }

    private void Setup(Rows<T> query, int rows, in Workspace w)
    {
        Packing<V, T>.Transpose(query.Data, query.Stride, rows, _problem.HeadDim, Exponent.Sign<T>(_problem.Scale), w.Query);
        T lowest = T.BitIncrement(T.NegativeInfinity); // finite, so that a difference of two of them is no NaN
        new Span<T>(w.Reference, Epilogue.Stride).Fill(lowest);
        new Span<T>(w.Max, Epilogue.Stride).Fill(lowest);
        new Span<T>(w.Sum, Epilogue.Stride).Clear();
        new Span<T>(w.Rescale, Epilogue.Stride).Fill(T.One);
        new Span<T>(w.Output, Panels<V, T>.PadRows(rows) * _paddedValueDim).Clear();
    }

    /// <summary>
    /// Pᵀ of one tile, panel by panel, and l: every register tile of Sᵀ is exponentiated while in registers, against a reference from
    /// before. Only where a maximum outgrows it the reference is raised, for that query alone, and the panel computed again: what one
    /// query sees has no influence on the bits of another.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Softmax(in KeyTile tile, int rows, in Workspace w)
    {
        int columns = Panels<V, T>.PadColumns(rows);
        for (int x = 0; x < columns; x += Panels<V, T>.Width)
        {
            int vectors = Math.Min(Panels<V, T>.Width, columns - x) / V.Count, length = vectors * V.Count;
            if (x + length - 1 + (long)tile.Diagonal < 0)
            {   // none of these queries sees a key of the tile
                new Span<T>(w.Rescale + x, length).Fill(T.One);
                continue;
            }
            bool isLastPanel = x + Panels<V, T>.Width >= columns;
            if (tile.IsFirst)
                SetReference(tile, x, vectors, w);
            new Span<T>(w.TileSum + x, length).Clear();
            Scores<OnlineSoftmax<V, T>, MaskedOnlineSoftmax<V, T>>(tile, tile.Count, x, vectors, w.Reference, w, isLastPanel);
            if (RaiseReference(x, length, w))
            {
                new Span<T>(w.TileSum + x, length).Clear();
                Scores<OnlineSoftmax<V, T>, MaskedOnlineSoftmax<V, T>>(tile, tile.Count, x, vectors, w.Reference, w);
            }
            for (int y = x; y < x + length; y += V.Count)
                V.Store(w.Sum + y, V.Add(V.Load(w.Sum + y), V.Load(w.TileSum + y)));
        }
    }

    /// <summary>A first reference for the exponentials: the maxima over six keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void SetReference(in KeyTile tile, int x, int vectors, in Workspace w)
    {
        Scores<ScoreMax<V, T>, MaskedScoreMax<V, T>>(tile, Math.Min(Panels<V, T>.TileRows, tile.Count), x, vectors, w.Max, w);
        for (int y = x; y < x + vectors * V.Count; y += V.Count)
            V.Store(w.Reference + y, V.Load(w.Max + y));
    }

    /// <summary>
    /// Whether a maximum has outgrown its reference. If so it becomes the reference, and l is brought to it; rescale does that to O.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool RaiseReference(int x, int length, in Workspace w)
    {
        V factor = V.Broadcast(w.Exponent[0]), slack = V.Broadcast(s_slack);
        bool isOutgrown = false;
        for (int y = x; y < x + length; y += V.Count)
        {
            V max = V.Load(w.Max + y), reference = V.Load(w.Reference + y);
            V growth = V.Multiply(V.Subtract(max, reference), factor);
            V rescale = V.Broadcast(T.One);
            if (V.AnyGreater(growth, slack))
            {
                isOutgrown = true;
                V raised = V.IfLess(slack, growth, max, reference);
                rescale = V.Power(reference, raised, w.Exponent);
                V.Store(w.Reference + y, raised);
                V.Store(w.Sum + y, V.Multiply(rescale, V.Load(w.Sum + y)));
            }
            V.Store(w.Rescale + y, rescale);
        }
        return isOutgrown;
    }

    /// <summary>
    /// The first keys of a tile against the queries of a panel, e being the column scalars of the epilogue: what every query sees in
    /// one go, then six keys at a time with the masked epilogue, without the registers of queries that see none of them.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Scores<E, EMasked>(in KeyTile tile, int keys, int x, int vectors, T* e, in Workspace w, bool isLastPanel = false)
        where E : struct, IEpilogue<V, T>
        where EMasked : struct, IEpilogue<V, T>
    {
        int d = _problem.HeadDim, r = 0;
        // Blocks of six keys that the panel's first query sees, and so all of its queries.
        int whole = (int)Math.Clamp(((long)x + tile.Diagonal + 1) / Panels<V, T>.TileRows, 0, keys / Panels<V, T>.TileRows);
        for (int blocks; whole > 0; whole -= blocks, r += blocks * Panels<V, T>.TileRows)
        {
            blocks = Math.Min(BlocksPerCall, whole);
            if (x == 0)
                Prefetch.Rows(tile.NextKey, r, blocks * Panels<V, T>.TileRows, tile.NextCount, _problem.HeadDim);
            if (isLastPanel)
                Prefetch.Rows(tile.NextValue, r, blocks * Panels<V, T>.TileRows, tile.NextCount, _problem.ValueDim);
            Panels<V, T>.Tile<E>(vectors, tile.Key.At(r), tile.Key.Stride, 1, w.Query + (nint)x * d, Panels<V, T>.Width,
                w.Scores + (nint)r * _scoreStride + x, _scoreStride, d, e + x, w.Exponent, blocks);
        }
        for (; r < keys; r += Panels<V, T>.TileRows)
        {
            int skip = (int)Math.Max(0L, (long)r - tile.Diagonal - x) / V.Count;
            if (skip >= vectors)
                break;
            int from = x + skip * V.Count;
            (nint mask, nint step) = Mask(tile.Count - r, r - tile.Diagonal - from, w);
            Panels<V, T>.Tile<EMasked>(vectors - skip, tile.Key.At(r), tile.Key.Stride, 1, w.Query + (nint)x * d + skip * V.Count, Panels<V, T>.Width,
                w.Scores + (nint)r * _scoreStride + from, _scoreStride, d, e + from, w.Exponent, 1, (T*)mask, step);
        }
    }

    /// <summary>
    /// The mask of a block whose first key is seen by the columns from firstSeen on, every further key by one column less; where a
    /// tile ends with fewer than six keys, nobody sees the others.
    /// </summary>
    private static (nint Mask, nint Step) Mask(int keys, long firstSeen, in Workspace w)
    {
        T* diagonal = w.Diagonal + DiagonalLength / 2 - Math.Max(firstSeen, -Panels<V, T>.TileRows);
        if (keys >= Panels<V, T>.TileRows)
            return ((nint)diagonal, 1);
        int width = Panels<V, T>.Width;
        for (int r = 0; r < Panels<V, T>.TileRows; r++)
        {
            if (r < keys)
                new Span<T>(diagonal - r, width).CopyTo(new Span<T>(w.Mask + r * width, width));
            else
                new Span<T>(w.Mask + r * width, width).Fill(-T.One);
        }
        return ((nint)w.Mask, -width);
    }

    /// <summary>O = diag(rescale) O + P V</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AddValues(in KeyTile tile, int rows, in Workspace w)
    {
        for (int r = 0, blocks; r < rows; r += blocks * Panels<V, T>.TileRows)
        {
            T* p = w.Scores + r, o = w.Output + (nint)r * _paddedValueDim;
            int common = Math.Clamp(r + tile.Diagonal + 1, 0, tile.Count); // keys that all six rows see; all of them, then all rows that follow do
            blocks = common == tile.Count ? (rows - r + Panels<V, T>.TileRows - 1) / Panels<V, T>.TileRows : 1;
            if (r + Panels<V, T>.TileRows - 1 + tile.Diagonal < 0)
                continue; // they see none
            Panels<V, T>.Rows<RescaleAccumulate<V, T>>(_paddedValueDim, p, 1, _scoreStride, tile.Value.Data, tile.Value.Stride, o, _paddedValueDim, common, w.Rescale + r, blocks);
            for (int t = 1; t < Math.Min(Panels<V, T>.TileRows, rows - r) && common < tile.Count; t++)
            {
                Panels<V, T>.Row(_paddedValueDim, p + t, _scoreStride, tile.Value.Data, tile.Value.Stride, o + t * _paddedValueDim, common,
                    Math.Clamp(r + t + tile.Diagonal + 1, 0, tile.Count));
            }
        }
    }

    /// <summary>O / l to where the caller wants it, and (m, l).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Finish(int head, int first, int rows, int last, in Workspace w)
    {
        Rows<T> output = Rows<T>.OfHead(_arguments.Output, head, _problem.Heads).From(first);
        nint statistics = (nint)head * _problem.QueryLength + first;
        T* max = (T*)_arguments.Statistics.Max + statistics, sum = (T*)_arguments.Statistics.Sum + statistics;
        for (int y = 0; y < rows; y += V.Count) // l relative to m
            V.Store(w.TileSum + y, V.Multiply(V.Load(w.Sum + y), V.Power(V.Load(w.Reference + y), V.Load(w.Max + y), w.Exponent)));
        for (int r = 0; r < rows; r++)
        {
            T* o = output.At(r), from = w.Output + (nint)r * _paddedValueDim;
            if (_problem.KeyLength == 0 || r + last < 0)
            {   // no key to attend to
                new Span<T>(o, _problem.ValueDim).Clear();
                max[r] = T.NegativeInfinity;
                sum[r] = T.Zero;
                continue;
            }
            T inverse = w.Sum[r] == T.Zero ? T.NaN : T.One / w.Sum[r]; // every score was -inf: 0 / 0, as in softmax
            V scale = V.Broadcast(inverse);
            int x = 0;
            for (; x + V.Count <= _problem.ValueDim; x += V.Count)
                V.Store(o + x, V.Multiply(V.Load(from + x), scale));
            for (; x < _problem.ValueDim; x++)
                o[x] = from[x] * inverse;
            max[r] = w.Max[r];
            sum[r] = w.TileSum[r];
        }
    }
}
