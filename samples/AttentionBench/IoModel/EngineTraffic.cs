using static AttentionBench.IoModel.TileShape;

namespace AttentionBench.IoModel;

/// <summary>
/// Bytes that the CPU engine's loops over one head move into and out of a least-recently-used cache of any size, in closed form. An operand's bytes are
/// read anew wherever the cache does not hold what the loops touch between two uses of them; so the passes are a list of uses: so many bytes, used
/// again after so many others. One list holds for all levels of memory: a level takes what the level above it lets through.
/// </summary>
internal sealed class EngineTraffic
{
    private const double Line = 64;

    private readonly List<Use> _uses = [];
    private readonly List<(double Bytes, Use[] Until)> _writes = [];

    private EngineTraffic(HeadShape head) => Head = head;

    public HeadShape Head { get; }

    public IReadOnlyList<Use> Uses => _uses;

    /// <summary>Bytes read into a cache of so many bytes.</summary>
    public double Fills(double cache) => _uses.Sum(use => use.Missed(cache));

    /// <summary>Bytes written back from it: of every value written, where it is evicted before it is overwritten.</summary>
    public double WriteBacks(double cache) => _writes.Sum(write => write.Bytes * write.Until.Max(use => use.ShareMissed(cache)));

    /// <summary>Bytes between registers and the first level: what register tiles and the strips between them load and store.</summary>
    public double RegisterBytes { get; private set; }

    /// <summary>Both.</summary>
    public double Bytes(double cache) => Fills(cache) + WriteBacks(cache);

    /// <summary>Bytes that are used again after others were touched.</summary>
    /// <param name="Operand">Whose.</param>
    /// <param name="Where">In which product, and what repeats.</param>
    /// <param name="Bytes">How many in the whole pass.</param>
    /// <param name="Low">The fewest bytes touched between two uses.</param>
    /// <param name="High">The most; evenly spread between both.</param>
    public sealed record Use(string Operand, string Where, double Bytes, double Low, double High)
    {
        public double Missed(double cache) => Bytes * ShareMissed(cache);

        public double ShareMissed(double cache) => cache <= Low ? 1 : cache >= High ? 0 : (High - cache) / (High - Low);
    }

    /// <summary>A product of 2 N² d operations in register tiles: for every step of the depth a row of W columns and six single elements; then C.</summary>
    private void AddProduct(TileShape tile, double depth, bool adds)
    {
        double steps = Head.Flops(isBackward: false) / 2 / (2 * Rows * tile.Panel), c = Rows * tile.Panel * (adds ? 2 : 1);
        RegisterBytes += steps * Head.ElementSize * (tile.Panel + Rows + c / depth);
    }

    private Use Add(string operand, string where, double bytes, double low, double high)
    {
        var use = new Use(operand, where, Math.Max(0, bytes), Math.Min(low, high), Math.Max(low, high));
        if (bytes > 0)
            _uses.Add(use);
        return use;
    }

    private Use Cold(string operand, double bytes) => Add(operand, "first use", bytes, double.PositiveInfinity, double.PositiveInfinity);

    private void Written(double bytes, params Use[] until)
    {
        if (bytes > 0)
            _writes.Add((bytes, until));
    }

    /// <summary>
    /// Products that walk P or dS down its columns, six at a time: each walk touches a line of every row, or two, and so comes to lines of the walk before.
    /// </summary>
    /// <param name="operand">P or dS.</param>
    /// <param name="where">The product.</param>
    /// <param name="bytes">Of P or dS, in all walks over all of it.</param>
    /// <param name="columns">Of a tile of it.</param>
    /// <param name="between">Touched between two walks, beside its own lines.</param>
    /// <param name="lines">A line of every row.</param>
    /// <param name="other">The other operand, its name and the bytes of it that walks use again.</param>
    private void AddWalks(string operand, string where, double bytes, int columns, double between, double lines, (string Name, double Bytes) other)
    {
        int e = Head.ElementSize, walks = Ceiling(columns, Rows), touches = 0;
        for (int i = 0; i < columns; i += Rows)
            touches += (Math.Min(i + Rows, columns) * e - 1) / (int)Line - i * e / (int)Line + 1;
        // Before and after a walk over two lines the next walk does not find the same line in every row.
        double uneven = Math.Min(1, 2.0 * (touches - walks) / walks), again = (double)touches / Ceiling(columns * e, (int)Line) - 1;
        foreach ((string name, double of) in new[] { (operand, bytes * again), other })
        {
            Add(name, where, of * (1 - uneven), between + lines - Line, between + lines);
            Add(name, where, of * uneven, between + lines, between + 2 * lines);
        }
    }

    /// <summary>Tiles of a side: how many rows, and how many of such.</summary>
    private static IEnumerable<(int Rows, int Count)> Tiles(int length, int rows)
        => new[] { (Math.Min(rows, length), length / rows), (length % rows, 1) }.Where(tile => tile.Item1 > 0 && tile.Item2 > 0).DistinctBy(tile => tile.Item1);

    /// <summary>ForwardPass: a query tile stays, K and V pass by.</summary>
    public static EngineTraffic Forward(HeadShape head, TileShape tile)
    {
        var t = new EngineTraffic(head);
        double all = head.Operand;
        int keys = Math.Min(tile.Keys, head.Length), largest = Math.Min(tile.Queries, head.Length);
        // Scratch memory is used again by tile after tile; what is left in it at the end is written back too.
        double q = (double)largest * head.HeadDim * head.ElementSize, s = (double)largest * keys * head.ElementSize;
        t.Written(2 * q + s, t.Cold("Qᵀ, S, O", 2 * q + s));
        t.Cold("Q, K, V", 3 * all);
        t.Written(all, t.Cold("O", all));
        bool isFirst = true;
        foreach ((int rows, int count) in Tiles(head.Length, tile.Queries))
        {
            t.QueryTiles(tile, rows, keys, count, isFirst ? 1 : 0, 2 * q + s);
            isFirst = false;
        }
        t.AddProduct(tile, head.HeadDim, adds: false);
        t.AddProduct(tile, keys, adds: true);
        t.RegisterBytes += 3 * head.Scores; // maximum, then S in and P out
        return t;
    }

    /// <param name="tile">The loops.</param>
    /// <param name="br">Queries of these tiles.</param>
    /// <param name="bc">Keys of a tile.</param>
    /// <param name="count">How many such query tiles.</param>
    /// <param name="first">How many of them find nothing of a tile before.</param>
    /// <param name="scratch">Bytes of the scratch memory.</param>
    private void QueryTiles(TileShape tile, int br, int bc, int count, int first, double scratch)
    {
        int n = Head.Length, e = Head.ElementSize, w = Math.Min(tile.Panel, br), wv = Math.Min(tile.Panel, Head.HeadDim), valuePanels = Ceiling(Head.HeadDim, tile.Panel);
        double row = (double)Head.HeadDim * e, all = Head.Operand, keyTiles = Ceiling(n, bc), panels = Ceiling(br, tile.Panel), queryBlocks = Ceiling(br, Rows), keyBlocks = 0;
        for (int j = 0; j < n; j += bc)
            keyBlocks += Ceiling(Math.Min(bc, n - j), Rows);

        // What is touched in between: Qᵀ, O of the tile; K, V of one; S; and of them panels of W columns.
        double q = br * row, o = q, k = bc * row, v = k, s = (double)br * bc * e, square = count * (double)br * n * e, queries = count * q, next = count - first;
        double qp = w * row, sp = (double)w * bc * e, vp = (double)bc * wv * e, op = (double)br * wv * e;
        double rows = Rows * row, block = Rows * w * e, lines = bc * Line, queryLoop = scratch + 2 * all;

        Use repacked = Add("Qᵀ", "packed over the last tile's", next * q, s + v + o, s + v + o + k + 3 * q);
        Use packed = Add("Qᵀ", "S = Q Kᵀ, first key tile", queries, q + o, 2 * q + o + k + s);
        Use nextTile = Add("Qᵀ", "S = Q Kᵀ, next key tile", queries * (keyTiles - 1), q + s + k + v + o, q + s + 2 * k + v + o);
        Add("Qᵀ", "S = Q Kᵀ, next six keys", queries * (keyBlocks - keyTiles), qp + rows + block - Line, qp + rows + block + Rows * Line);
        Written(queries - first * q, packed, nextTile, repacked);

        Add("K", "S = Q Kᵀ, next query tile", all * next, queryLoop, queryLoop + 2 * q);
        Add("K", "S = Q Kᵀ, next panel", all * count * (panels - 1), k + qp + sp, k + 2 * qp + 2 * sp);

        Use overwritten = Add("S", "S = Q Kᵀ over the last tile's P", square - first * s, s + vp + Math.Min(op + qp, q + k), s + vp + Math.Max(op + qp, q + k));
        Use maximum = Add("S", "maximum", square, qp, qp + sp + k);
        Add("S", "exponential", square * (2 * Math.Max(1, Line / tile.VectorBytes) - 1), lines - Line, lines);
        Use panel = Add("P", "O += P V, first panel", square, s + vp + Math.Min(q - qp + k, op), s + vp + Math.Max(q - qp + k, op));
        Use others = Add("P", "O += P V, next panel", square * (valuePanels - 1), s + vp + op, s + 2 * vp + op);
        Written(square, maximum);
        Written(square - first * s, valuePanels > 1 ? [panel, others, overwritten] : [panel, overwritten]);

        Add("V", "O += P V, next query tile", all * next, queryLoop, queryLoop + 2 * q);
        AddWalks("P", "O += P V, next six queries", square * valuePanels, br, vp + Rows * wv * e, lines, ("V", all * count * (queryBlocks - 1)));

        Use cleared = Add("O", "cleared", next * o, 2 * o, 4 * o);
        Use start = Add("O", "O += P V, first key tile", queries, s + q + k + vp, s + q + k + v + o);
        Use pass = Add("O", "O += P V, next key tile", queries * (keyTiles - 1), s + o + q + k + vp, s + o + q + k + 2 * v);
        Use divided = Add("O", "O / l", queries, op, o + s + v);
        Written(queries, start);
        Written(queries * (keyTiles - 1), pass);
        Written(queries - first * o, divided, cleared);
    }

    /// <summary>BackwardPass: a key-value tile stays, queries pass by.</summary>
    public static EngineTraffic Backward(HeadShape head, TileShape tile)
    {
        var t = new EngineTraffic(head);
        double all = head.Operand, row = (double)head.HeadDim * head.ElementSize;
        int queries = Math.Min(tile.Queries, head.Length), largest = Math.Min(tile.Keys, head.Length);
        double scratch = 4 * largest * row + (double)queries * largest * head.ElementSize + (double)Math.Min(BlockRows, queries) * Math.Min(tile.Panel, largest) * head.ElementSize;
        t.Written(scratch, t.Cold("Kᵀ, Vᵀ, dK, dV, S, dP", scratch));
        t.Cold("Q, K, V, O, dO", 5 * all);
        t.Written(3 * all, t.Cold("dQ, dK, dV", 3 * all));
        bool isFirst = true;
        foreach ((int rows, int count) in Tiles(head.Length, tile.Keys))
        {
            t.KeyTiles(tile, queries, rows, count, isFirst ? 1 : 0, scratch + 6 * largest * row);
            isFirst = false;
        }
        foreach ((double depth, bool adds) in new[] { (head.HeadDim, false), (head.HeadDim, false), (queries, true), (queries, true), (largest, true) })
            t.AddProduct(tile, depth, adds);
        t.RegisterBytes += 5 * head.Scores; // S in and P out; P and dP in, dS out
        return t;
    }

    /// <param name="tile">The loops.</param>
    /// <param name="br">Queries of a tile.</param>
    /// <param name="bc">Keys of these tiles.</param>
    /// <param name="count">How many such key tiles.</param>
    /// <param name="first">How many of them find nothing of a tile before.</param>
    /// <param name="around">Bytes of the scratch memory, of K, V, dK and dV of a tile and of K and V of the next.</param>
    private void KeyTiles(TileShape tile, int br, int bc, int count, int first, double around)
    {
        int n = Head.Length, e = Head.ElementSize, w = Math.Min(tile.Panel, bc), wd = Math.Min(tile.Panel, Head.HeadDim), dimPanels = Ceiling(Head.HeadDim, tile.Panel);
        double row = (double)Head.HeadDim * e, all = Head.Operand, queryTiles = Ceiling(n, br), panels = Ceiling(bc, tile.Panel), keyBlocks = Ceiling(bc, Rows), queryBlocks = 0, strips = 0;
        for (int i = 0; i < n; i += br)
            (queryBlocks, strips) = (queryBlocks + Ceiling(Math.Min(br, n - i), Rows), strips + Ceiling(Math.Min(br, n - i), BlockRows));

        // What is touched in between: K and its like (Kᵀ, V, Vᵀ, dK, dV) of the tile, Q and its like (dO, dQ) of one; S; and of them panels of W columns.
        double k = bc * row, q = br * row, s = (double)br * bc * e, square = count * (double)bc * n * e, keys = count * k, next = count - first;
        double kp = w * row, sp = (double)br * w * e, ky = (double)bc * wd * e, qy = (double)br * wd * e;
        double rows = Rows * row, block = Rows * w * e, dBlock = Rows * wd * e, lines = br * Line, blockRows = Rows * (double)bc * e;
        double strip = (double)Math.Min(BlockRows, br) * w * e, stripRows = Math.Min(BlockRows, br) * row;
        double tileLoop = 5 * k + s + strip + 3 * q, keyLoop = around + 3 * all;

        foreach ((string name, string product, double low, double high, double more) in new[]
        {
            ("Kᵀ", "S = Q Kᵀ", 5 * k, 6 * k + s, strip), ("Vᵀ", "dP = dO Vᵀ", 3 * k + s, 5 * k + s + 2 * q, 2 * strip),
        })
        {
            Use packed = Add(name, "packed over the last tile's", next * k, tileLoop, tileLoop + 4 * k);
            Use start = Add(name, product + ", first query tile", keys, low, high);
            Use pass = Add(name, product + ", next query tile", keys * (queryTiles - 1), tileLoop, tileLoop + (name == "Kᵀ" ? 1 : 2) * q);
            Add(name, product + ", next six queries", keys * (queryBlocks - strips), kp + rows + block - Line, kp + rows + block + Rows * Line);
            Add(name, product + ", after a strip", keys * (strips - queryTiles), kp + rows + more, kp + rows + more + Rows * Line);
            Written(keys - first * k, start, pass, packed);
        }
        Add("K", "dQ += dS K, first query tile", keys, 6 * k + s + strip + 2 * q, 7 * k + s + strip + 3 * q);
        Add("K", "dQ += dS K, next query tile", keys * (queryTiles - 1), tileLoop, tileLoop + q);
        Add("K", "dQ += dS K, next six queries", keys * (queryBlocks - queryTiles), ky + blockRows + dBlock - Line, ky + blockRows + dBlock + Rows * Line);

        // From the first key tile to the second O, which delta was computed from, lies between as well.
        double again = Math.Max(0, next - first), second = next - again;
        Add("Q", "S = Q Kᵀ, next key tile", all * again, keyLoop - k, keyLoop);
        Add("Q", "S = Q Kᵀ, second key tile", all * second, keyLoop - k, keyLoop + all);
        Add("Q", "S = Q Kᵀ, next panel", all * count * (panels - 1), q + kp + sp, q + 2 * kp + 2 * sp);
        Add("Q", "dK += dSᵀ Q, after S", all * count, s + 2 * k + q, s + 2 * k + 2 * q);
        Add("dO", "dV += Pᵀ dO, first key tile", all * first, q + k + s, 3 * q + k + s);
        Add("dO", "dV += Pᵀ dO, next key tile", all * again, keyLoop - k, keyLoop);
        Add("dO", "dV += Pᵀ dO, second key tile", all * second, keyLoop - k, keyLoop + all);
        Add("dO", "dP = dO Vᵀ, after dV", all * count, qy, s + k + q);
        Add("dO", "dP = dO Vᵀ, next panel", all * count * (panels - 1), q + kp + sp + strip, q + 2 * kp + 2 * sp + strip);

        Use overwritten = Add("S", "S = Q Kᵀ over the last tile's dS", square - first * s, s + Math.Min(ky, q), s + 2 * k + 2 * q);
        Use exponential = Add("S", "exponential", square, block, strip + stripRows + kp);
        Use difference = Add("P", "dS over P", square, s + qy + Math.Min(k, ky), s + q + Math.Max(k, ky));
        Use product1 = Add("dS", "dQ += dS K", square, s, s + k + 2 * q);
        Use product2 = Add("dS", "dQ += dS K, next panel", square * (dimPanels - 1), s + ky + qy, s + 2 * ky + qy);
        List<Use> ofP = [difference], ofScores = dimPanels > 1 ? [product1, product2, overwritten] : [product1, overwritten];
        foreach ((string name, string product, string other, List<Use> until) in new[] { ("P", "dV += Pᵀ dO", "dO", ofP), ("dS", "dK += dSᵀ Q", "Q", ofScores) })
        {
            until.Add(Add(name, product + ", first panel", square, s + qy + Math.Min(k, ky), s + q + qy + Math.Max(k, ky)));
            if (dimPanels > 1)
                until.Add(Add(name, product + ", next panel", square * (dimPanels - 1), s + qy + ky, s + 2 * qy + ky));
            AddWalks(name, product + ", next six keys", square * dimPanels, bc, qy + dBlock, lines, (other, all * count * (keyBlocks - 1)));
        }
        Written(square, exponential);
        Written(square, [.. ofP]);
        Written(square - first * s, [.. ofScores]);
        Use overBlock = Add("dP", "dP = dO Vᵀ over the last block", square - first * strip, strip, 2 * strip + kp);
        Written(square - first * strip, Add("dP", "dS = P (dP - delta)", square, block, strip + stripRows + kp), overBlock);

        foreach ((string name, string product, double more) in new[] { ("dV", "dV += Pᵀ dO", 2 * q), ("dK", "dK += dSᵀ Q", q) })
        {
            Use cleared = Add(name, "cleared", next * k, 4 * k, 8 * k);
            Use pass = Add(name, product + ", next query tile", keys * queryTiles, tileLoop, tileLoop + more);
            Use given = Add(name, "to the caller", keys, k, tileLoop);
            Written(keys * queryTiles, pass);
            Written(keys - first * k, given, cleared);
        }
        Use sum = Add("dQ", "dQ += dS K, next key tile", all * again, keyLoop - k, keyLoop);
        Use sum2 = Add("dQ", "dQ += dS K, second key tile", all * second, keyLoop - k, keyLoop + all);
        Written(all * again, sum);
        Written(all * second, sum2);
        Add("dQ", "cleared, then dQ += dS K", all * first, dBlock, q + k);
        if (first > 0)
            Written(all, Add("dQ", "scaled", all, dBlock, q + k + s));
    }
}
