using static AttentionBench.IoModel.TileShape;

namespace AttentionBench.IoModel;

/// <summary>
/// The memory accesses of the CPU engine's loops over one head, in their order: ForwardPass.QueryTile and BackwardPass.KeyTile with the register tiles
/// of Product and the strips between them. Row statistics (a few values a row) and the rare rescale of O are left out; rows are whole cache lines.
/// </summary>
internal sealed class EngineTrace
{
    private readonly HeadShape _head;
    private readonly TileShape _tile;
    private readonly IAccesses _to;
    private long _end;

    private EngineTrace(HeadShape head, TileShape tile, IAccesses to) => (_head, _tile, _to) = (head, tile, to);

    public static void Forward(HeadShape head, TileShape tile, IAccesses to) => new EngineTrace(head, tile, to).Forward();

    public static void Backward(HeadShape head, TileShape tile, IAccesses to) => new EngineTrace(head, tile, to).Backward();

    private int D => _head.HeadDim;

    /// <summary>A row-major matrix in an address range of its own.</summary>
    private readonly record struct Matrix(long Address, int Stride)
    {
        public Matrix From(int row, int column, int elementSize) => this with { Address = Address + ((long)row * Stride + column) * elementSize };
    }

    private Matrix Take(int rows, int columns)
    {
        var matrix = new Matrix(_end, columns);
        _end += ((long)rows * columns * _head.ElementSize + 4095) / 4096 * 4096;
        return matrix;
    }

    /// <summary>An odd number of lines, as Product.OddLines has it.</summary>
    private Matrix TakeScores(int rows, int columns) => Take(rows, (Ceiling(columns, 64 / _head.ElementSize) | 1) * (64 / _head.ElementSize));

    private void Row(Matrix m, int row, int column, int columns, bool isWrite = false)
        => _to.Touch(m.Address + ((long)row * m.Stride + column) * _head.ElementSize, columns * _head.ElementSize, isWrite);

    private void Rows(Matrix m, int rows, int columns, bool isWrite = false)
    {
        for (int r = 0; r < rows; r++)
            Row(m, r, 0, columns, isWrite);
    }

    /// <summary>Packing.Transpose: rows into panels [panel][k][W].</summary>
    private void Transpose(Matrix from, int rows, Matrix to)
    {
        for (int x = 0; x < rows; x += _tile.Panel)
        {
            Rows(from.From(x, 0, _head.ElementSize), Math.Min(_tile.Panel, rows - x), D);
            for (int k = 0; k < D; k++)
                Row(PanelOf(to, x), k, 0, _tile.Panel, isWrite: true);
        }
    }

    private Matrix PanelOf(Matrix transposed, int x) => new(transposed.Address + (long)x * D * _head.ElementSize, _tile.Panel);

    /// <summary>C (+)= A B for a block of six rows: RegisterTile.Run. A by its rows, or transposed down its columns.</summary>
    private void Product(Matrix a, bool isTransposed, int rows, Matrix b, Matrix c, int columns, int depth, bool add)
    {
        for (int k = 0; k < depth; k++)
        {
            Row(b, k, 0, columns);
            if (isTransposed)
                Row(a, k, 0, rows);
            else
                for (int r = 0; r < rows; r++)
                    Row(a, r, k, 1);
        }
        for (int r = 0; r < rows; r++)
        {
            if (add)
                Row(c, r, 0, columns);
            Row(c, r, 0, columns, isWrite: true);
        }
    }

    /// <summary>Product.Add: C += A B, panel by panel of columns, six rows at a time.</summary>
    private void Add(Matrix a, bool isTransposed, int rows, Matrix b, Matrix c, int depth)
    {
        int e = _head.ElementSize;
        for (int x = 0; x < D; x += _tile.Panel)
            for (int i = 0; i < rows; i += TileShape.Rows)
                Product(isTransposed ? a.From(0, i, e) : a.From(i, 0, e), isTransposed, Math.Min(TileShape.Rows, rows - i), b.From(0, x, e), c.From(i, x, e), Math.Min(_tile.Panel, D - x), depth, add: true);
    }

    private void Forward()
    {
        int n = _head.Length, e = _head.ElementSize, lanes = _tile.VectorBytes / e;
        Matrix q = Take(n, D), key = Take(n, D), value = Take(n, D), output = Take(n, D);
        Matrix transposed = Take(_tile.Queries + _tile.Panel, D), scores = TakeScores(_tile.Keys, _tile.Queries), sum = Take(_tile.Queries, D);
        for (int first = 0; first < n; first += _tile.Queries)
        {
            int queries = Math.Min(_tile.Queries, n - first);
            Transpose(q.From(first, 0, e), queries, transposed);
            Rows(sum, queries, D, isWrite: true);
            for (int start = 0; start < n; start += _tile.Keys)
            {
                int keys = Math.Min(_tile.Keys, n - start);
                Matrix k = key.From(start, 0, e), v = value.From(start, 0, e);
                for (int x = 0; x < queries; x += _tile.Panel)
                {
                    int columns = Math.Min(_tile.Panel, queries - x);
                    for (int r = 0; r < keys; r += TileShape.Rows) // Sᵀ = K Qᵀ
                        Product(k.From(r, 0, e), false, Math.Min(TileShape.Rows, keys - r), PanelOf(transposed, x), scores.From(r, x, e), columns, D, add: false);
                    for (int y = x; y < x + columns; y += lanes) // Strip.Softmax: the maximum, then P over S
                    {
                        for (int j = 0; j < keys; j++)
                            Row(scores, j, y, Math.Min(lanes, x + columns - y));
                        for (int j = 0; j < keys; j++)
                            Row(scores, j, y, Math.Min(lanes, x + columns - y), isWrite: true);
                    }
                }
                Add(scores, true, queries, v, sum, keys); // O += P V
            }
            for (int i = 0; i < queries; i++)
            {
                Row(sum, i, 0, D);
                Row(output, first + i, 0, D, isWrite: true);
            }
        }
    }

    private void Backward()
    {
        int n = _head.Length, e = _head.ElementSize;
        Matrix query = Take(n, D), key = Take(n, D), value = Take(n, D), output = Take(n, D), outputGradient = Take(n, D);
        Matrix queryGradient = Take(n, D), keyGradient = Take(n, D), valueGradient = Take(n, D);
        int padded = Ceiling(_tile.Keys, _tile.Panel) * _tile.Panel;
        Matrix keyTransposed = Take(padded, D), valueTransposed = Take(padded, D), keySum = Take(_tile.Keys, D), valueSum = Take(_tile.Keys, D);
        Matrix scores = TakeScores(_tile.Queries, padded), block = Take(BlockRows, _tile.Panel);
        for (int start = 0; start < n; start += _tile.Keys)
        {
            int keys = Math.Min(_tile.Keys, n - start);
            Transpose(key.From(start, 0, e), keys, keyTransposed);
            Transpose(value.From(start, 0, e), keys, valueTransposed);
            Rows(keySum, keys, D, isWrite: true);
            Rows(valueSum, keys, D, isWrite: true);
            for (int first = 0; first < n; first += _tile.Queries)
            {
                int queries = Math.Min(_tile.Queries, n - first);
                Matrix q = query.From(first, 0, e), o = output.From(first, 0, e), g = outputGradient.From(first, 0, e), dq = queryGradient.From(first, 0, e);
                for (int i = 0; start == 0 && i < queries; i++) // delta
                {
                    Row(o, i, 0, D);
                    Row(g, i, 0, D);
                }
                Blocks(queries, keys, (x, i, rows, columns) => // S = Q Kᵀ, P over it
                {
                    Panel(q, keyTransposed, x, i, rows, columns, scores.From(i, x, e));
                    for (int r = i; r < i + rows; r++)
                        Row(scores, r, x, columns, isWrite: true);
                });
                Add(scores, true, keys, g, valueSum, queries); // dV += Pᵀ dO
                Blocks(queries, keys, (x, i, rows, columns) => // dP = dO Vᵀ, dS over P
                {
                    Panel(g, valueTransposed, x, i, rows, columns, block);
                    for (int r = 0; r < rows; r++)
                    {
                        Row(block, r, 0, columns);
                        Row(scores, i + r, x, columns, isWrite: true);
                    }
                });
                Add(scores, true, keys, q, keySum, queries); // dK += dSᵀ Q
                if (start == 0)
                    Rows(dq, queries, D, isWrite: true);
                Add(scores, false, queries, key.From(start, 0, e), dq, keys); // dQ += dS K
                if (start + keys == n)
                    Rows(dq, queries, D, isWrite: true);
            }
            for (int j = 0; j < keys; j++)
            {
                Row(keySum, j, 0, D);
                Row(keyGradient, start + j, 0, D, isWrite: true);
                Row(valueSum, j, 0, D);
                Row(valueGradient, start + j, 0, D, isWrite: true);
            }
        }

        void Blocks(int queries, int keys, Action<int, int, int, int> block)
        {
            for (int x = 0; x < keys; x += _tile.Panel)
                for (int i = 0; i < queries; i += BlockRows)
                    block(x, i, Math.Min(BlockRows, queries - i), Math.Min(_tile.Panel, keys - x));
        }

        void Panel(Matrix a, Matrix transposed, int x, int i, int rows, int columns, Matrix c)
        {
            for (int r = 0; r < rows; r += TileShape.Rows)
                Product(a.From(i + r, 0, e), false, Math.Min(TileShape.Rows, rows - r), PanelOf(transposed, x), c.From(r, 0, e), columns, D, add: false);
        }
    }
}
