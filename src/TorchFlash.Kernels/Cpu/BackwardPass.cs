using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;
using TorchFlash.Kernels.Cpu.Scores;
using TorchFlash.Kernels.Cpu.Tiles;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// dQ, dK and dV with S and P recomputed tile by tile from (m, l) (FlashAttention-2, algorithm 2): the key-value tile stays, query tiles
/// pass by.
/// <code>
/// S  = Q Kᵀ      X = modify(S)                (X = S without a score program)
/// P  = exp(X - m) / l                         delta = rowsum(dO o O) - dLSE
/// dV += (Z o P)ᵀ dO                           (Z: what dropout keeps, over 1 - p)
/// dP = Z o dO Vᵀ dX = P o (dP - delta)        (over P in place)
/// dS = modify'(dX, S)                         (captured tensors receive their gradients)
/// dK += dSᵀ Q                                 (times scale at the end)
/// dQ += dS K                                  (times scale at the end)
/// </code>
/// </summary>
/// <remarks>
/// Kᵀ and Vᵀ are packed once per key-value tile, which all query heads of its group pass by one after the other: dK and dV are summed
/// over the group in that order. dQ is summed in place, key-value tile by key-value tile (see <see cref="Turns"/>);
/// that of 16-bit types in float32 beside it, and converted when the last one has been.
/// </remarks>
internal sealed unsafe partial class BackwardPass<L, V, T>
    where L : struct, ILanes<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Rows of S in one go: a block of them and its dP stay in the first-level cache from the product to the strip.</summary>
    private const int BlockRows = 8 * Product<L, V, T>.TileRows;

    private readonly AttentionProblem _problem;
    private readonly BackwardArguments _arguments;
    private readonly BoundScore<T> _score;
    private readonly Arithmetic<L, V, T> _products;
    private readonly CapturedGradients<T> _captured;
    private readonly ScorePass _modification;
    private readonly T _factor;
    private readonly T _scale;
    private readonly TileSizes _sizes;
    private readonly int _queryTiles;
    private readonly int _keyTiles;
    private readonly int _columns;
    private readonly int _valueColumns;

    /// <summary>Whether it pays to ask for operands ahead of time.</summary>
    private readonly bool _isFar;

    private readonly Turns _turns;
    private readonly Lazy<TileMap>[] _maps;

    /// <summary>m, 1/l and delta of every row, three times [B, H, Nq].</summary>
    private readonly T* _rowTerms;

    /// <summary>For 16-bit operands: sums of dQ, [B, H, Nq, d].</summary>
    private readonly T* _querySums;

    private BackwardPass(in AttentionProblem problem, in BackwardArguments arguments, BoundScore<T> score, in PassSetting setting, T* rowTerms, T* querySums)
    {
        _problem = problem;
        _arguments = arguments;
        _score = score;
        _products = new(problem, setting.Pairs);
        _factor = Exponential.Factor<T>(score.ExponentScale);
        _scale = T.CreateChecked(problem.Scale);
        _sizes = setting.Plan.Backward(problem);
        _isFar = setting.Plan.Caches.AreFar(problem);
        _queryTiles = _sizes.QueryTiles(problem);
        _keyTiles = _sizes.KeyTiles(problem);
        _columns = Product<L, V, T>.PadColumns(problem.HeadDim);
        _valueColumns = Product<L, V, T>.PadColumns(problem.ValueDim);
        _turns = new Turns(problem.Batch * problem.KeyHeadCount, _keyTiles, checked(problem.Batch * problem.Heads * _queryTiles));
        _captured = new CapturedGradients<T>(problem, arguments.ScoreTensorGradients, _keyTiles);
        _modification = _score.IsAdditive || _captured.Any ? ScorePass.ModifyAgain : ScorePass.ModifyWithDerivative;
        _rowTerms = rowTerms;
        _querySums = querySums;
        AttentionProblem p = problem;
        _maps = [.. Enumerable.Range(0, score.Visibility.Kinds).Select(kind => new Lazy<TileMap>(() => new TileMap(score.Visibility, score.Visibility.HeadOf(kind), p, _sizes)))];
    }

    public static void Run(in AttentionProblem problem, in BackwardArguments arguments, in PassSetting setting)
    {
        long rows = Validation.Rows(problem);
        long sums = problem.ElementType.IsHalfWidth() ? rows * problem.HeadDim : 0;
        using Scratch scratch = Scratch.Rent(cursor => ((nint)cursor.Take<T>(3 * rows), (nint)cursor.Take<T>(sums)), out (nint RowTerms, nint QuerySums) parts);
        using var score = new BoundScore<T>(problem, arguments.ScoreTensors, Product<L, V, T>.VectorBits, setting.Threads, arguments.ScoreTensorGradients);
        var pass = new BackwardPass<L, V, T>(problem, arguments, score, setting, (T*)parts.RowTerms, (T*)parts.QuerySums);
        using CapturedGradients<T> captured = pass._captured;
        if (pass._keyTiles == 0)
            pass.BeginUnvisited();
        WorkerPool.Run((int)Math.Min(setting.Threads, (long)problem.Batch * problem.KeyHeadCount * pass._keyTiles), pass.Work);
        captured.End();
        if (arguments.SinkGradient != 0)
            pass.SetSinkGradient();
    }

    private TileMap MapOf(int head) => _maps[_score.Visibility.KindOf(head)].Value;

    private void Work()
    {
        using Scratch scratch = Scratch.Rent(cursor => new Tile(this, cursor), out Tile tile);
        _turns.TakeAll((keyHead, index) => KeyTile(keyHead, index, tile));
    }

    private void KeyTile(int keyHead, int index, in Tile t)
    {
        int start = index * _sizes.Keys, keys = Math.Min(_sizes.Keys, _problem.KeyLength - start), keyHeads = _problem.KeyHeadCount, group = _problem.Group;
        Matrix<T> key = _products.Columns(OfHead(_arguments.Key), keys, _problem.HeadDim, t.KeyPadding);
        var side = new KeySide(
            start,
            keys,
            key,
            _products.Pack(OfHead(_arguments.Key), keys, _problem.HeadDim, Exponential.Sign<T>(_score.ExponentScale), t.KeyPacked, t.KeySideRows, key),
            _products.Pack(OfHead(_arguments.Value), keys, _problem.ValueDim, T.One, t.ValuePacked, t.KeySideRows));
        new Span<T>(t.KeyGradient.Data, Product<L, V, T>.PadRows(keys) * _columns).Clear();
        new Span<T>(t.ValueGradient.Data, Product<L, V, T>.PadRows(keys) * _valueColumns).Clear();

        for (int k = 0; k < _score.TensorCount; k++)
            t.Tensors[k] = _score.Tensors[k];
        _captured.Begin(keyHead, index, _turns, t.Tensors);
        for (int head = keyHead * group; head < (keyHead + 1) * group; head++)
        {
            if (index == 0)
                BeginUnvisited(head, t);
            ReadOnlySpan<TileMap.Visit> visits = MapOf(head).Of(index);
            for (int i = 0; i < visits.Length; i++)
            {
                LookAhead(head, visits[i..], t.Ahead);
                PassBy(head, visits[i], side, t);
            }
        }

        Packing<L, V, T>.Store(t.KeyGradient, OfHead(_arguments.KeyGradient), keys, _problem.HeadDim, _scale);
        Packing<L, V, T>.Store(t.ValueGradient, OfHead(_arguments.ValueGradient), keys, _problem.ValueDim, T.CreateChecked(Dropout.Factor(_problem.Dropout)));

        Stored<T> OfHead(in TensorView view) => Stored<T>.OfHead(view, keyHead, keyHeads, _problem.ElementType).From(start);
    }

    /// <summary>The operands of a key-value tile.</summary>
    /// <param name="Start">Its first key.</param>
    /// <param name="Keys">How many there are.</param>
    /// <param name="Key">K, for dS K.</param>
    /// <param name="KeyPacked">± K, for Q Kᵀ.</param>
    /// <param name="ValuePacked">V, for dO Vᵀ.</param>
    private readonly record struct KeySide(int Start, int Keys, Matrix<T> Key, Packed<T> KeyPacked, Packed<T> ValuePacked);

    /// <summary>Asks for dQ of a visit, which dS K is added to, and for Q and dO of the next one.</summary>
    private void LookAhead(int head, ReadOnlySpan<TileMap.Visit> visits, Ahead ahead)
    {
        ahead.Clear();
        if (!_isFar)
            return;
        Add(_arguments.QueryGradient, visits[0], _problem.HeadDim);
        if (visits.Length > 1)
        {
            Add(_arguments.Query, visits[1], _problem.HeadDim);
            Add(_arguments.OutputGradient, visits[1], _problem.ValueDim);
        }

        void Add(in TensorView view, TileMap.Visit visit, int d)
        {
            int first = visit.QueryTile * _sizes.Queries;
            ahead.Add(Stored<T>.OfHead(view, head, _problem).From(first), Math.Min(_sizes.Queries, _problem.QueryLength - first), d);
        }
    }

    private void PassBy(int head, TileMap.Visit visit, in KeySide side, in Tile t)
    {
        int first = visit.QueryTile * _sizes.Queries, queries = Math.Min(_sizes.Queries, _problem.QueryLength - first);
        int start = side.Start, keys = side.Keys, available = _problem.QueryLength - first;
        Cover tile = _score.Visibility.Cover.Tile(first, queries, start, keys);
        Stored<T> q = OfHead(_arguments.Query), dO = OfHead(_arguments.OutputGradient);
        Matrix<T> query = _products.Rows(q, queries, available, _problem.HeadDim, t.QueryPadding);
        Matrix<T> outputGradient = _products.Rows(dO, queries, available, _problem.ValueDim, t.OutputGradientPadding);
        Stored<T> result = OfHead(_arguments.QueryGradient);
        Matrix<T> queryGradient = result.IsOfT ? result.InPlace : new(_querySums + ((nint)head * _problem.QueryLength + first) * _problem.HeadDim, _problem.HeadDim);
        nint row = (nint)head * _problem.QueryLength + first, rows = (nint)Validation.Rows(_problem);
        T* m = _rowTerms + row, inverse = m + rows, delta = inverse + rows;
        int turn = head * _queryTiles + visit.QueryTile;
        if (visit.Turn == 0)
            SetRowTerms(head, first, queries, t);
        else
            _turns.Await(turn, 1);

        for (int x = 0; x < keys; x += Product<L, V, T>.Width)
        {
            t.Parts[x / Product<L, V, T>.Width] =
                _score.Visibility.Trim(head, first, queries, start + x, Math.Min(Product<L, V, T>.Width, keys - x), ofKeys: false, visit.Class);
        }
        var place = new Place(head, first, start);
        Probabilities(tile, place, query, side.KeyPacked, m, inverse, t);
        AddToKeySide(tile, visit.Class, t.Kept, _products.Columns(dO, queries, _problem.ValueDim, t.OutputGradientPairs, outputGradient), t.ValueGradient, _valueColumns, t);
        ScoreGradients(tile, place, outputGradient, side.ValuePacked, delta, t);
        AddToKeySide(tile, visit.Class, t.Scores, _products.Columns(q, queries, _problem.HeadDim, t.QueryPairs, query), t.KeyGradient, _columns, t);
        _turns.Await(turn, visit.Turn);
        AddToQueryGradient(tile, side.Key, queryGradient, visit.Turn == 0, t);
        if (visit.IsLast)
            Packing<L, V, T>.Store(queryGradient, result, queries, _problem.HeadDim, _scale);
        _turns.Pass(turn, visit.Turn + 1);

        Stored<T> OfHead(in TensorView view) => Stored<T>.OfHead(view, head, _problem).From(first);
    }

    /// <summary>Where a tile lies: head (of all batch entries), first query, first key.</summary>
    private readonly record struct Place(int Head, int Query, int Key);

    /// <summary>S = Q Kᵀ, X = modify(S), P = exp(X - m) / l, 0 for pairs that do not exist, and Z o P.</summary>
    [MethodImpl(Jit.Alone)]
    private void Probabilities(Cover tile, Place place, Matrix<T> query, Packed<T> key, T* m, T* inverse, in Tile t)
    {
        for (int x = 0, p = 0; x < tile.Keys; x += Product<L, V, T>.Width, p++)
        {
            int width = Math.Min(Product<L, V, T>.Width, Product<L, V, T>.PadColumns(tile.Keys - x));
            Visibility.Part part = t.Parts[p];
            for (int i = FirstRow(part), rows; i < part.To; i += rows)
            {
                (rows, int skip, int columns) = Block(tile, i, x, part.To);
                bool isCut = !tile.Tile(i, rows, x, Math.Min(width, tile.Keys - x)).IsAll;
                TileProgram? code = isCut && _modification == ScorePass.ModifyWithDerivative ? _score.CutCode(_modification, part.Class) : _score.Code(_modification, part.Class);
                if (columns > 0)
                {
                    Matrix<T> s = t.Scores.From(i, x + skip), raw = code is null ? s : t.Raw.From(i, x + skip);
                    _products.Panel(columns, query.From(i), rows, key, x + skip, raw, _problem.HeadDim, ahead: t.Ahead);
                    if (code is not null)
                        RunProgram(code, place, part, i, x + skip, rows, Math.Min(columns, tile.Keys - x - skip), t);
                    Strip<L, V, T>.Probabilities(s, rows, columns, m + i, inverse + i, _factor);
                }
                if (columns == 0 || isCut)
                    Hide(tile, i, rows, x, width, columns == 0, t);
                if (_problem.Dropout > 0)
                    DropoutStrip<L, V, T>.Drop(t.Scores.From(i, x), t.Kept.From(i, x), rows, width, _problem, place.Head, place.Query + i, place.Key + x, t.Words);
            }
            Clear(part, tile.Queries, x, width, t.Scores);
            if (_problem.Dropout > 0)
                Clear(part, tile.Queries, x, width, t.Kept);
        }
    }

    /// <summary>The first row of the register tile in which the first query of a part lies.</summary>
    private static int FirstRow(Visibility.Part part) => part.From / Product<L, V, T>.TileRows * Product<L, V, T>.TileRows;

    /// <summary>P = 0 for the queries that see nothing of a panel: register tiles of the products may begin or end among them.</summary>
    private static void Clear(Visibility.Part part, int queries, int x, int width, Matrix<T> weights)
    {
        for (int i = 0; i < part.From; i++)
            weights.Span(i, x, width).Clear();
        for (int i = part.To; i < queries; i++)
            weights.Span(i, x, width).Clear();
    }

    /// <summary>P = 0 for pairs outside of the band, or for all, of a block of S that is a panel wide.</summary>
    [MethodImpl(Jit.Alone)]
    private static void Hide(Cover tile, int i, int rows, int x, int width, bool all, in Tile t)
    {
        for (int r = i; r < i + rows; r++)
        {
            int from = Math.Clamp(tile.FirstKeyOf(r) - x, 0, width), to = all ? from : Math.Clamp(tile.EndKeyOf(r) - x, from, width);
            if (from > 0)
                t.Scores.Span(r, x, from).Clear();
            if (to < width)
                t.Scores.Span(r, x + to, width - to).Clear();
        }
    }

    /// <summary>dP = Z o dO Vᵀ, dX = P o (dP - delta) over P, and dS = modify'(dX, S) over that.</summary>
    [MethodImpl(Jit.Alone)]
    private void ScoreGradients(Cover tile, Place place, Matrix<T> outputGradient, Packed<T> value, T* delta, in Tile t)
    {
        T factor = T.CreateChecked(Dropout.Factor(_problem.Dropout));
        for (int x = 0, p = 0; x < tile.Keys; x += Product<L, V, T>.Width, p++)
        {
            Visibility.Part part = t.Parts[p];
            for (int i = FirstRow(part), rows; i < part.To; i += rows)
            {
                (rows, int skip, int columns) = Block(tile, i, x, part.To);
                if (columns == 0)
                    continue;
                Matrix<T> s = t.Scores.From(i, x + skip), dp = t.ProbabilityGradient;
                _products.Panel(columns, outputGradient.From(i), rows, value, x + skip, dp, _problem.ValueDim, ahead: t.Ahead);
                if (SeeOneBlock(place.Query + i, rows, place.Key + x, Math.Min(Product<L, V, T>.Width, tile.Keys - x)))
                    SetDelta(_problem.Dropout > 0 ? t.Kept.From(i, x + skip) : s, dp, rows, Math.Min(columns, tile.Keys - x - skip), _problem.Dropout > 0 ? factor : T.One, place, i, delta);
                if (_problem.Dropout > 0)
                    Strip<L, V, T>.ScoreGradients(s, t.Kept.From(i, x + skip), factor, dp, rows, columns, delta + i);
                else
                    Strip<L, V, T>.ScoreGradients(s, dp, rows, columns, delta + i);
                if (_modification == ScorePass.ModifyWithDerivative)
                    Strip<L, V, T>.Multiply(s, t.Raw.From(i, x + skip), rows, columns);
                else if ((tile.Tile(i, rows, x, Math.Min(Product<L, V, T>.Width, tile.Keys - x)).IsAll
                    ? _score.Code(ScorePass.Gradient, part.Class) : _score.CutCode(ScorePass.Gradient, part.Class)) is { } code)
                {
                    RunProgram(code, place, part, i, x + skip, rows, Math.Min(columns, tile.Keys - x - skip), t);
                }
            }
        }
    }

    /// <summary>Runs code over the rows of a block that lie in the part of the panel which is seen.</summary>
    private void RunProgram(TileProgram code, Place place, Visibility.Part part, int row, int column, int rows, int columns, in Tile t)
    {
        int above = Math.Max(0, part.From - row);
        (row, rows) = (row + above, rows - above);
        TileArguments arguments = _score.Arguments(
            t.Raw.From(row, column), t.Scores.From(row, column), rows, columns, place.Query + row, place.Key + column, place.Head, t.Staged, Product<L, V, T>.Width);
        arguments.Tensors = t.Tensors;
        code.Run(ref arguments);
    }

    /// <summary>
    /// Size of the block of S at query i and key x that is computed in one go: a panel wide and many rows high where every pair of the band
    /// exists, else six rows high and no wider than these queries see; the columns skipped at its left. No columns where nothing is seen.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (int Rows, int Skip, int Columns) Block(Cover tile, int i, int x, int end)
    {
        int width = Math.Min(Product<L, V, T>.Width, Product<L, V, T>.PadColumns(tile.Keys - x)), left = end - i;
        int whole = Math.Min(Math.Min(BlockRows, tile.EndQueryOf(x) - i), left); // Rows that see the panel's first key; as long as they do, ...
        if (tile.EndKeyOf(i) >= Math.Min(x + width, tile.Keys) && (whole >= Product<L, V, T>.TileRows || whole == left)) // ... if the first sees its last key.
            return (whole == left ? whole : whole / Product<L, V, T>.TileRows * Product<L, V, T>.TileRows, 0, width);
        int rows = Math.Min(Product<L, V, T>.TileRows, left);
        int skip = Math.Clamp(tile.FirstKeyOf(i) - x, 0, width) / Product<L, V, T>.ProgramLanes * Product<L, V, T>.ProgramLanes;
        int columns = Math.Min(width, Product<L, V, T>.PadColumns(Math.Max(0, tile.EndKeyOf(i + rows - 1) - x))) - skip;
        return (rows, skip, Math.Max(0, columns));
    }

    /// <summary>dV += (Z o P)ᵀ dO, or dK += dSᵀ Q: six keys at a time over the queries that see one of them.</summary>
    private void AddToKeySide(Cover tile, TileClass tileClass, Matrix<T> weights, Matrix<T> x, Matrix<T> gradient, int columns, in Tile t)
    {
        bool isWhole = tile.IsAll && tileClass == TileClass.All;
        int blocks = isWhole ? Product<L, V, T>.Tiles(tile.Keys) : 1;
        weights = _products.PairRows(weights, 0, tile.Queries, Product<L, V, T>.PadColumns(tile.Keys), t.Rounded);
        for (int j = 0; j < tile.Keys; j += blocks * Product<L, V, T>.TileRows)
        {
            int last = Math.Min(j + Product<L, V, T>.TileRows, tile.Keys) - 1, from = 0, to = tile.Queries;
            if (!isWhole)
            {
                Visibility.Part a = t.Parts[j / Product<L, V, T>.Width], b = t.Parts[last / Product<L, V, T>.Width];
                from = Math.Max(tile.FirstQueryOf(j), a.IsEmpty ? b.From : b.IsEmpty ? a.From : Math.Min(a.From, b.From));
                to = Math.Min(tile.EndQueryOf(last), Math.Max(a.To, b.To));
            }
            (int first, int depth) = _products.Range(from, to);
            if (from < to)
                _products.AddToKeys(columns, weights.Row(first) + j, 1, weights.Stride, x.From(first), gradient.From(j), depth, blocks, t.Ahead);
        }
    }

    /// <summary>dQ += dS K, the first time dQ = dS K: as many queries at a time as go together over the keys that one of them sees.</summary>
    private void AddToQueryGradient(Cover tile, Matrix<T> key, Matrix<T> gradient, bool isFirst, in Tile t)
    {
        bool inPlace = _problem.HeadDim == _columns && tile.Queries % Product<L, V, T>.TileRows == 0;
        Matrix<T> to = inPlace ? gradient : t.QueryGradient;
        for (int i = 0; i < Product<L, V, T>.PadRows(tile.Queries) && (isFirst || !inPlace); i++)
            to.Span(i, 0, _columns).Clear();
        Matrix<T> gradients = _products.PairColumns(t.Scores, tile.Queries, tile.Keys, t.Rounded);
        for (int x = 0, end; x < tile.Keys; x = end)
        {
            // Neighbouring panels that the same queries see go together.
            Visibility.Part part = t.Parts[x / Product<L, V, T>.Width];
            for (end = x + Product<L, V, T>.Width; end < tile.Keys && SameRows(t.Parts[end / Product<L, V, T>.Width], part);)
                end += Product<L, V, T>.Width;
            end = Math.Min(end, tile.Keys);
            int first = FirstRow(part);
            if (!part.IsEmpty)
                AddKeys(tile.Tile(first, part.To - first, x, end - x), gradients.From(first, _products.Depth(x)), key.From(_products.Depth(x)), to.From(first));
        }
        if (!inPlace)
            Packing<L, V, T>.Copy(to, gradient, tile.Queries, _problem.HeadDim, T.One, add: !isFirst);

        static bool SameRows(Visibility.Part a, Visibility.Part b) => a.From == b.From && a.To == b.To;
    }

    private void AddKeys(Cover tile, Matrix<T> gradients, Matrix<T> key, Matrix<T> to)
    {
        bool isAll = tile.IsAll;
        int rows = _products.QueryRows, blocks = isAll ? (tile.Queries + rows - 1) / rows : 1;
        for (int i = 0; i < tile.Queries; i += blocks * rows)
        {
            int from = isAll ? 0 : tile.FirstKeyOf(i), end = isAll ? tile.Keys : tile.EndKeyOf(Math.Min(i + rows, tile.Queries) - 1);
            (int start, int depth) = _products.Range(from, end);
            if (from < end)
                _products.AddToQueries(_columns, gradients.Row(i) + start, gradients.Stride, 1, key.From(start), to.From(i), depth, blocks);
        }
    }
}
