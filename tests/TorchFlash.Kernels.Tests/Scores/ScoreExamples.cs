using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Tests.Scores;

/// <summary>A small problem with the programs that people ask for most, and programs at random.</summary>
internal sealed class ScoreExamples : IDisposable
{
    public const int Block = 16;

    private readonly Dictionary<ScoreTensor, Captured> _captured = [];

    public ScoreExamples(int batch, int heads, int queries, int keys, int seed)
    {
        Problem = new AttentionProblem
        {
            Batch = batch,
            Heads = heads,
            QueryLength = queries,
            KeyLength = keys,
            HeadDim = 8,
            ValueDim = 8,
            Scale = 1,
            ElementType = ElementType.Float64,
        };
        Random = new Random(seed);
        int n = Math.Max(queries, keys), blocks = (n + Block - 1) / Block;
        Slopes = Real("slopes", heads);
        Table = Real("table", heads, 2 * n + 1);
        Buckets = Real("buckets", heads, 9);
        Bias = Real("bias", 1, heads, queries, keys);
        KeyBias = Real("keyBias", batch, 1, 1, keys);
        Add(Bucket = new IntTensor(null, 41), "bucket", x => Math.Sign(x[0] - 20) * (int)Math.Log2(1 + Math.Abs(x[0] - 20)) + 4);
        Add(Document = new IntTensor(null, batch, n), "document", x => x[1] / 37);
        Add(Length = new IntTensor(null, batch), "length", _ => Random.Next(1, keys + 1));
        Add(Layout = new BoolTensor(null, heads, blocks, blocks), "layout", _ => Random.Next(2));
        Add(Seen = new BoolTensor(null, 1, 1, queries, keys), "seen", x => Random.Next(5) > 0 || x[3] < keys / 3 ? 1 : 0);
        Add(KeySeen = new BoolTensor(null, batch, 1, 1, keys), "keySeen", _ => Random.Next(4) > 0 ? 1 : 0);
    }

    public AttentionProblem Problem { get; }

    public Random Random { get; }

    public RealTensor Slopes { get; }

    public RealTensor Table { get; }

    public RealTensor Buckets { get; }

    public RealTensor Bias { get; }

    public RealTensor KeyBias { get; }

    public IntTensor Bucket { get; }

    public IntTensor Document { get; }

    public IntTensor Length { get; }

    public BoolTensor Layout { get; }

    public BoolTensor Seen { get; }

    public BoolTensor KeySeen { get; }

    public double Load(ScoreTensor tensor, params int[] index) => _captured[tensor][index];

    public TileAnalysis Analyse(ScoreProgram program) => new(program, Problem, [.. program.Tensors.Select(t => _captured[t].View)]);

    /// <summary>A tensor of its own.</summary>
    public void Add(ScoreTensor tensor, string name, Func<int[], double> value, long[]? strides = null)
    {
        tensor.Name = name;
        _captured.Add(tensor, new Captured(new HostMemory(), ElementType.Float64, tensor, value, strides));
    }

    public IEnumerable<(string Name, ScoreProgram Program)> Masks()
    {
        (int queries, int keys, int window, int block) = (Problem.QueryLength, Problem.KeyLength, 29, Block);
        ScoreProgram all = ScoreProgram.Identity;
        yield return ("causal", all.Where((b, h, i, j) => j <= i));
        yield return ("bottom-right", all.Where((b, h, i, j) => j <= i + (keys - queries)));
        yield return ("window", all.Where((b, h, i, j) => j <= i && i - j < window));
        yield return ("prefix-LM", all.Where((b, h, i, j) => j <= i || j < Length[b]));
        yield return ("documents", all.Where((b, h, i, j) => Document[b, i] == Document[b, j]));
        yield return ("documents, causal", all.Where((b, h, i, j) => Document[b, i] == Document[b, j] && j <= i));
        yield return ("key padding", all.Where((b, h, i, j) => j < Length[b]));
        yield return ("block-sparse", all.Where((b, h, i, j) => Layout[h, i / block, j / block]));
        yield return ("dilated", all.Where((b, h, i, j) => (i - j) % 3 == 0));
        yield return ("global and local", all.Where((b, h, i, j) => Math.Abs(i - j) < window || i < 4 || j < 4));
        yield return ("Bool mask", all.Where((b, h, i, j) => Seen[0, 0, i, j]));
        yield return ("key mask", all.Where((b, h, i, j) => KeySeen[b, 0, 0, j]));
    }

    /// <summary>A function of s and of what is captured; smooth: with no comparison of real numbers.</summary>
    public ScoreProgram RandomModification(int depth, bool smooth)
    {
        return ScoreProgram.Build(g => Go(g, depth), _ => null);

        Node Go(Graph g, int depth)
        {
            return Random.Next(depth == 0 ? 5 : 17) switch
            {
                0 or 1 => g.Leaf(Op.Score),
                2 => g.Real(Math.Round(Random.NextDouble() * 4 - 2, 2)),
                3 => g.Parameter(ScoreKind.Real, Random.NextDouble() + 0.5, $"p{Random.Next(3)}"),
                4 => Random.Next(7) switch
                {
                    0 => g.Load(Slopes, g.Leaf(Op.Head)),
                    1 => g.Load(Table, g.Leaf(Op.Head), RandomIndex(g, Table.Shape[1])),
                    2 => g.Load(KeyBias, g.Leaf(Op.Batch), g.Int(0), g.Int(0), g.Leaf(Op.Key)),
                    3 => g.Load(Bias, g.Int(0), g.Leaf(Op.Head), g.Leaf(Op.Query), g.Leaf(Op.Key)),
                    4 => g.Load(Buckets, g.Leaf(Op.Head), g.Load(Bucket, RandomIndex(g, 41))),
                    5 => g.Load(Bias, g.Int(0), g.Int(0), g.Leaf(Op.Query), g.Int(0)),
                    _ => g.Apply(Op.Multiply, g.Real(0.05), g.Apply(Op.ToReal, g.Apply(Op.Subtract, g.Leaf(Op.Key), g.Leaf(Op.Query)))),
                },
                5 or 6 => g.Apply(Op.Add, X(), X()),
                7 => g.Apply(Op.Subtract, X(), X()),
                8 => g.Apply(Op.Multiply, X(), X()),
                9 => g.Apply(Op.Divide, X(), g.Apply(Op.Add, g.Apply(Op.Abs, X()), g.Real(0.7))),
                10 => g.Apply(Op.Tanh, X()),
                11 => g.Apply(Op.Sigmoid, X()),
                12 => g.Apply(Op.Exp, g.Apply(Op.Min, X(), g.Real(1.5))),
                13 => g.Apply(Op.Log, g.Apply(Op.Add, g.Apply(Op.Abs, X()), g.Real(0.5))),
                14 => g.Apply(Op.Sqrt, g.Apply(Op.Add, g.Apply(Op.Max, X(), g.Real(0)), g.Real(0.3))),
                15 => g.Apply(Random.Next(2) == 0 ? Op.Min : Op.Max, X(), X()),
                _ => g.Apply(Op.Select, smooth ? RandomCondition(g, 1) : g.Apply(Op.Less, X(), X()), X(), X()),
            };

            Node X() => Go(g, depth - 1);
        }
    }

    public ScoreProgram RandomMask(int depth) => ScoreProgram.Build(_ => null, g => RandomCondition(g, depth));

    public void Dispose()
    {
        foreach (Captured captured in _captured.Values)
            captured.Dispose();
    }

    private RealTensor Real(string name, params int[] shape)
    {
        var tensor = new RealTensor(null, shape);
        Add(tensor, name, _ => Random.NextDouble() * 2 - 1);
        return tensor;
    }

    private Node RandomIndex(Graph g, int length) => g.Apply(Op.Min, g.Apply(Op.Max, RandomInt(g, 2), g.Int(0)), g.Int(length - 1));

    private Node RandomInt(Graph g, int depth) => Random.Next(depth == 0 ? 4 : 10) switch
    {
        0 or 4 => g.Leaf(Op.Query),
        1 or 5 => g.Leaf(Op.Key),
        2 => g.Int(Random.Next(-20, 40)),
        3 => g.Parameter(ScoreKind.Int, Random.Next(1, 30), $"n{Random.Next(3)}"),
        6 => g.Apply(Random.Next(2) == 0 ? Op.Add : Op.Subtract, RandomInt(g, depth - 1), RandomInt(g, depth - 1)),
        7 => g.Apply(Op.Multiply, RandomInt(g, depth - 1), g.Int(Random.Next(-3, 4))),
        8 => g.Apply(Random.Next(2) == 0 ? Op.Divide : Op.Remainder, RandomInt(g, depth - 1), g.Int(Random.Next(2, 9))),
        _ => Random.Next(3) switch
        {
            0 => g.Load(Document, g.Leaf(Op.Batch), g.Leaf(Random.Next(2) == 0 ? Op.Query : Op.Key)),
            1 => g.Load(Length, g.Leaf(Op.Batch)),
            _ => g.Apply(Op.Abs, RandomInt(g, depth - 1)),
        },
    };

    private Node RandomCondition(Graph g, int depth) => Random.Next(depth == 0 ? 4 : 9) switch
    {
        < 3 => g.Apply(Random.Next(2) == 0 ? Op.Less : Op.LessOrEqual, RandomInt(g, 2), RandomInt(g, 2)),
        3 => g.Apply(Op.Equal, RandomInt(g, 1), RandomInt(g, 1)),
        4 => g.Apply(Op.Not, RandomCondition(g, depth - 1)),
        5 => g.Apply(Op.Less, g.Load(Table, g.Leaf(Op.Head), RandomIndex(g, Table.Shape[1])), g.Real(0.25)),
        6 => g.Load(Seen, g.Int(0), g.Int(0), g.Leaf(Op.Query), g.Leaf(Op.Key)),
        7 => g.Apply(Op.And, RandomCondition(g, depth - 1), RandomCondition(g, depth - 1)),
        _ => g.Apply(Op.Or, RandomCondition(g, depth - 1), RandomCondition(g, depth - 1)),
    };
}
