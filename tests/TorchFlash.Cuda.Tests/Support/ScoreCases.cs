using TorchFlash.Kernels.Scores;

namespace TorchFlash.Cuda.Tests;

/// <summary>Ready-made and random score programs for problems of 2 batch entries, 4 heads, up to <see cref="Queries"/> queries and <see cref="Keys"/> keys.</summary>
internal sealed class ScoreCases
{
    public const int Batch = 2, Heads = 4, Queries = 90, Keys = 150;

    private const int Buckets = 8, Block = 16;

    private readonly Random _random;
    private readonly Dictionary<ScoreTensor, double[]> _values = [];

    public ScoreCases(int seed = 3)
    {
        _random = new Random(seed);
        Slopes = Real("slopes", Heads);
        Table = Real("table", Heads, Queries + Keys);
        BucketTable = Real("bucketTable", Heads, Buckets);
        Bias = Real("bias", Batch, 1, Queries, Keys);
        Document = Add(new IntTensor(null, Batch, Math.Max(Queries, Keys)) { Name = "document" }, at => at % Math.Max(Queries, Keys) / 40);
        Bucket = Add(new IntTensor(null, Queries + Keys) { Name = "bucket" }, _ => _random.Next(Buckets));
        Length = Add(new IntTensor(null, Batch) { Name = "length" }, at => at == 0 ? 131 : 38);
        Seen = Add(new BoolTensor(null, Queries, Keys) { Name = "seen" }, _ => _random.Next(3) == 0 ? 0 : 1);
        KeySeen = Add(new BoolTensor(null, Batch, Keys) { Name = "keySeen" }, _ => _random.Next(4) == 0 ? 0 : 1);
        Layout = Add(new BoolTensor(null, Heads, (Queries + Block - 1) / Block, (Keys + Block - 1) / Block) { Name = "layout" }, _ => _random.Next(2));
        ReadyMade = new()
        {
            ["alibi"] = ScoreProgram.Build(g => g.Apply(Op.Add, S(g), g.Apply(Op.Multiply, g.Load(Slopes, H(g)), g.Apply(Op.ToReal, Distance(g)))), _ => null),
            ["softcap"] = ScoreProgram.Build(g => Softcap(g, S(g)), _ => null),
            ["relative"] = ScoreProgram.Build(g => g.Apply(Op.Add, S(g), g.Load(Table, H(g), Shifted(g))), _ => null),
            ["buckets"] = ScoreProgram.Build(g => g.Apply(Op.Add, S(g), g.Load(BucketTable, H(g), g.Load(Bucket, Shifted(g)))), _ => null),
            ["bias"] = ScoreProgram.Build(g => g.Apply(Op.Add, S(g), g.Load(Bias, g.Leaf(Op.Batch), g.Int(0), I(g), J(g))), _ => null),
            ["window"] = ScoreProgram.Build(_ => null, g => g.Apply(Op.And,
                g.Apply(Op.LessOrEqual, g.Apply(Op.Negate, g.Parameter(ScoreKind.Int, 29, "left")), Distance(g)),
                g.Apply(Op.LessOrEqual, Distance(g), g.Parameter(ScoreKind.Int, 11, "right")))),
            ["documents"] = ScoreProgram.Build(_ => null, g => g.Apply(Op.Equal, g.Load(Document, B(g), I(g)), g.Load(Document, B(g), J(g)))),
            ["prefix"] = ScoreProgram.Build(_ => null, g => g.Apply(Op.Or, g.Apply(Op.LessOrEqual, J(g), I(g)), g.Apply(Op.Less, J(g), g.Int(31)))),
            ["lengths"] = ScoreProgram.Build(_ => null, g => g.Apply(Op.Less, J(g), g.Load(Length, B(g)))),
            ["keyMask"] = ScoreProgram.Build(_ => null, g => g.Load(KeySeen, B(g), J(g))),
            ["boolMask"] = ScoreProgram.Build(_ => null, g => g.Load(Seen, I(g), J(g))),
            ["blocks"] = ScoreProgram.Build(_ => null, g => g.Load(Layout, H(g), g.Apply(Op.Divide, I(g), g.Int(Block)), g.Apply(Op.Divide, J(g), g.Int(Block)))),
        };
        // Tiles of class none between others, in the order of heads as in that of queries.
        ReadyMade["heads"] = ScoreProgram.Build(_ => null, g => g.Apply(Op.Or, g.Apply(Op.Less, J(g), g.Int(30)),
            g.Apply(Op.And, g.Apply(Op.Less, I(g), g.Int(64)), g.Apply(Op.Not, g.Apply(Op.Equal, H(g), g.Int(2))))));
        ReadyMade["select"] = ScoreProgram.Build(_ => null, g => g.Apply(Op.Less, J(g), g.Apply(Op.Select, g.Apply(Op.Less, I(g), g.Int(20)), g.Int(16), I(g))));
        ReadyMade["all"] = ReadyMade["alibi"].Then(ReadyMade["softcap"]).Then(ReadyMade["relative"]).Then(ReadyMade["window"]).Then(ReadyMade["lengths"]);
        // Rows whose every score is -inf though no pair is hidden.
        ReadyMade["minusInfinity"] = ScoreProgram.Build(g => g.Apply(Op.Select, g.Apply(Op.Less, I(g), g.Int(40)), g.Real(double.NegativeInfinity), S(g)), _ => null);
    }

    public RealTensor Slopes { get; }

    public RealTensor Table { get; }

    public RealTensor BucketTable { get; }

    public RealTensor Bias { get; }

    public IntTensor Document { get; }

    public IntTensor Bucket { get; }

    public IntTensor Length { get; }

    public BoolTensor Seen { get; }

    public BoolTensor KeySeen { get; }

    public BoolTensor Layout { get; }

    public Dictionary<string, ScoreProgram> ReadyMade { get; }

    /// <summary>The elements of a tensor, dense.</summary>
    public double[] Values(ScoreTensor tensor) => _values[tensor];

    public static int Flat(ScoreTensor tensor, int[] indices)
    {
        int at = 0;
        for (int k = 0; k < indices.Length; k++)
        {
            Assert.InRange(indices[k], 0, tensor.Shape[k] - 1);
            at = at * tensor.Shape[k] + indices[k];
        }
        return at;
    }

    public double Load(ScoreTensor tensor, int[] indices) => _values[tensor][Flat(tensor, indices)];

    /// <summary>A modification of a few random operations and a random condition.</summary>
    public ScoreProgram Random() => ScoreProgram.Build(g => RandomReal(g, 4), g => RandomBool(g, 3));

    private static Node S(Graph g) => g.Leaf(Op.Score);

    private static Node B(Graph g) => g.Leaf(Op.Batch);

    private static Node H(Graph g) => g.Leaf(Op.Head);

    private static Node I(Graph g) => g.Leaf(Op.Query);

    private static Node J(Graph g) => g.Leaf(Op.Key);

    private static Node Distance(Graph g) => g.Apply(Op.Subtract, J(g), I(g));

    private static Node Shifted(Graph g) => g.Apply(Op.Add, Distance(g), g.Int(Queries - 1));

    private static Node Softcap(Graph g, Node s)
    {
        Node cap = g.Parameter(ScoreKind.Real, 1.5, "cap");
        return g.Apply(Op.Multiply, cap, g.Apply(Op.Tanh, g.Apply(Op.Divide, s, cap)));
    }

    private RealTensor Real(string name, params int[] shape) => Add(new RealTensor(null, shape) { Name = name }, _ => _random.NextDouble() * 2 - 1);

    private T Add<T>(T tensor, Func<int, double> value) where T : ScoreTensor
    {
        _values[tensor] = [.. Enumerable.Range(0, tensor.Shape.Aggregate(1, (a, b) => a * b)).Select(value)];
        return tensor;
    }

    private Node RandomReal(Graph g, int depth)
    {
        if (depth == 0)
        {
            return _random.Next(6) switch
            {
                0 => g.Load(Slopes, H(g)),
                1 => g.Load(Table, H(g), Shifted(g)),
                2 => g.Load(BucketTable, H(g), g.Load(Bucket, Shifted(g))),
                3 => g.Real(_random.NextDouble()),
                _ => S(g),
            };
        }
        Node a = RandomReal(g, depth - 1), b = RandomReal(g, _random.Next(depth));
        return _random.Next(13) switch
        {
            0 => g.Apply(Op.Multiply, a, b),
            1 => g.Apply(Op.Divide, a, g.Apply(Op.Add, g.Real(1), g.Apply(Op.Abs, b))),
            2 => g.Apply(Op.Min, a, b),
            3 => g.Apply(Op.Max, a, b),
            4 => g.Apply(Op.Exp, g.Apply(Op.Tanh, a)),
            5 => g.Apply(Op.Log, g.Apply(Op.Add, g.Real(1), g.Apply(Op.Abs, a))),
            6 => Softcap(g, a),
            7 => g.Apply(Op.Sigmoid, a),
            8 => g.Apply(Op.Sqrt, g.Apply(Op.Add, g.Real(0.5), g.Apply(Op.Multiply, a, a))),
            9 => g.Apply(Op.Select, RandomBool(g, 1), a, b),
            10 => g.Apply(Op.Subtract, a, g.Apply(Op.Multiply, g.Real(0.01), g.Apply(Op.ToReal, RandomInt(g, 1)))),
            11 => g.Apply(Op.Negate, a),
            _ => g.Apply(Op.Add, a, b),
        };
    }

    private Node RandomInt(Graph g, int depth)
    {
        if (depth == 0)
        {
            return _random.Next(7) switch
            {
                0 => g.Int(_random.Next(-40, 100)),
                1 => g.Parameter(ScoreKind.Int, _random.Next(-20, 60), $"n{_random.Next(100)}"),
                2 => g.Load(Document, B(g), I(g)),
                3 => g.Load(Length, B(g)),
                4 => H(g),
                5 => I(g),
                _ => J(g),
            };
        }
        Node a = RandomInt(g, depth - 1), b = RandomInt(g, _random.Next(depth));
        return _random.Next(9) switch
        {
            0 => g.Apply(Op.Multiply, a, g.Int(_random.Next(-3, 4))),
            1 => g.Apply(Op.Divide, a, g.Int(_random.Next(1, 9) * (_random.Next(2) * 2 - 1))),
            2 => g.Apply(Op.Remainder, a, g.Int(_random.Next(1, 40))),
            3 => g.Apply(Op.Min, a, b),
            4 => g.Apply(Op.Max, a, b),
            5 => g.Apply(Op.Abs, a),
            6 => g.Apply(Op.Select, RandomBool(g, 1), a, b),
            7 => g.Apply(Op.Subtract, a, b),
            _ => g.Apply(Op.Add, a, b),
        };
    }

    private Node RandomBool(Graph g, int depth)
    {
        if (depth == 0)
        {
            return _random.Next(4) switch
            {
                0 => g.Load(KeySeen, B(g), J(g)),
                1 => g.Load(Layout, H(g), g.Apply(Op.Divide, I(g), g.Int(Block)), g.Apply(Op.Divide, J(g), g.Int(Block))),
                _ => g.Apply(Op.LessOrEqual, J(g), I(g)),
            };
        }
        Node x = RandomInt(g, 2), y = RandomInt(g, 2);
        return _random.Next(9) switch
        {
            0 => g.Apply(Op.And, RandomBool(g, depth - 1), RandomBool(g, depth - 1)),
            1 => g.Apply(Op.Or, RandomBool(g, depth - 1), RandomBool(g, depth - 1)),
            2 => g.Apply(Op.Not, RandomBool(g, depth - 1)),
            3 => g.Apply(Op.Equal, g.Apply(Op.Remainder, x, g.Int(3)), g.Int(_random.Next(3))),
            4 => g.Apply(Op.Select, RandomBool(g, depth - 1), RandomBool(g, 0), RandomBool(g, 0)),
            5 => g.Apply(Op.Less, g.Apply(Op.Multiply, g.Real(0.3), g.Apply(Op.ToReal, x)), g.Apply(Op.ToReal, y)),
            6 => g.Apply(Op.LessOrEqual, g.Apply(Op.Abs, g.Apply(Op.ToReal, Distance(g))), g.Apply(Op.Multiply, g.Real(40), g.Apply(Op.Abs, g.Load(Slopes, H(g))))),
            7 => g.Apply(Op.LessOrEqual, x, y),
            _ => g.Apply(Op.Less, x, y),
        };
    }
}

/// <summary>Captured tensors of a program in the memory of an emulated device, with gaps between their elements.</summary>
internal sealed class ScoreMemory : IDisposable
{
    private const int Spread = 2;

    private readonly List<IDisposable> _memories = [];

    public ScoreMemory(ScoreProgram program, ScoreCases cases, bool isDouble)
    {
        Views = [.. program.Tensors.Select(tensor =>
        {
            double[] values = cases.Values(tensor);
            nint data = tensor.Kind switch
            {
                ScoreKind.Bool => Put(Array.ConvertAll(values, x => (byte)x)),
                ScoreKind.Int => Put(Array.ConvertAll(values, x => (long)x)),
                _ when isDouble => Put(values),
                _ => Put(Array.ConvertAll(values, x => (float)x)),
            };
            long[] strides = new long[ScoreTensor.MaxDimensions];
            long stride = Spread;
            for (int k = tensor.Shape.Count - 1; k >= 0; k--)
            {
                strides[k] = stride;
                stride *= tensor.Shape[k];
            }
            return new CapturedView(data, strides[0], strides[1], strides[2], strides[3]);
        })];
    }

    public CapturedView[] Views { get; }

    public void Dispose() => _memories.ForEach(m => m.Dispose());

    private nint Put<T>(T[] values) where T : unmanaged
    {
        var spread = new T[Math.Max(1, values.Length * Spread - 1)];
        for (int k = 0; k < values.Length; k++)
            spread[k * Spread] = values[k];
        EmulatedGpu.Memory<T> memory = EmulatedGpu.Memory<T>.Input(spread);
        for (int k = 1; k < spread.Length; k += Spread)
            memory.MarkGap(k, 1);
        _memories.Add(memory);
        return memory.Address;
    }
}
