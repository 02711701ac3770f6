using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Tests.Scores;

/// <summary>Programs of every operation and of every way an index can move, for <see cref="Queries"/> x <see cref="Keys"/> problems.</summary>
internal sealed class TileProgramRandom(Random random)
{
    public const int Batch = 2, Heads = 3, Queries = 150, Keys = 170, Buckets = 9;

    private readonly RealTensor _slopes = new(null, Heads), _table = new(null, Heads, Queries + Keys), _bias = new(null, Batch, Heads, Queries, Keys), _across = new(null, Keys, Queries),
        _queries = new(null, Batch, Queries), _keys = new(null, Batch, Keys), _bucketed = new(null, Heads, Buckets), _two = new(null, Buckets, Queries + Keys);

    private readonly IntTensor _documents = new(null, Batch, Queries + Keys), _buckets = new(null, Queries + Keys), _pairs = new(null, Queries, Keys);
    private readonly BoolTensor _mask = new(null, Batch, Queries, Keys), _padding = new(null, Batch, Keys), _flags = new(null, Buckets), _distances = new(null, Queries + Keys);

    public ScoreProgram Next(int depth) => ScoreProgram.Build(g => random.Next(8) == 0 ? null : Real(g, depth), g => random.Next(4) == 0 ? null : Bool(g, depth - 1));

    public Node Real(Graph g, int depth)
    {
        Node Next() => Real(g, depth - 1);
        Node Of(Op op, params Node[] a) => g.Apply(op, a);
        Node s = g.Leaf(Op.Score), square = depth > 0 ? Next() : s;
        square = Of(Op.Add, Of(Op.Multiply, square, square), g.Real(2));
        return depth == 0 ? random.Next(12) switch
        {
            0 => g.Load(_slopes, g.Leaf(Op.Head)),
            1 => g.Load(_table, g.Leaf(Op.Head), Distance(g, false)),
            2 => g.Load(_table, g.Leaf(Op.Head), Distance(g, true)),
            3 => g.Load(_bias, g.Leaf(Op.Batch), g.Leaf(Op.Head), g.Leaf(Op.Query), g.Leaf(Op.Key)),
            4 => g.Load(_across, g.Leaf(Op.Key), g.Leaf(Op.Query)),
            5 => g.Load(_queries, g.Leaf(Op.Batch), g.Leaf(Op.Query)),
            6 => g.Load(_keys, g.Leaf(Op.Batch), g.Leaf(Op.Key)),
            7 => g.Load(_bucketed, g.Leaf(Op.Head), g.Load(_buckets, Distance(g, random.Next(2) == 0))),
            8 => g.Load(_two, Bucket(g), Distance(g, random.Next(2) == 0)),
            9 => random.Next(2) == 0 ? g.Real(random.Next(-8, 9) / 4.0) : g.Parameter(ScoreKind.Real, random.Next(1, 9) / 4.0, $"p{random.Next(3)}"),
            _ => s,
        }
        : random.Next(15) switch
        {
            0 or 1 => Of(Op.Add, Next(), Next()),
            2 => Of(Op.Subtract, Next(), Next()),
            3 => Of(Op.Multiply, Next(), Next()),
            4 => Of(Op.Divide, Next(), square),
            5 => Of(Op.Divide, Next(), g.Parameter(ScoreKind.Real, random.Next(1, 9) / 2.0, "cap")),
            6 => Of(Op.Tanh, Next()),
            7 => Of(Op.Sigmoid, Next()),
            8 => Of(Op.Exp, Of(Op.Negate, square)),
            9 => Of(Op.Log, square),
            10 => Of(Op.Sqrt, square),
            11 => Of(random.Next(2) == 0 ? Op.Min : Op.Max, Next(), g.Real(random.Next(-8, 9) / 4.0)),
            12 => Of(Op.Select, Bool(g, depth - 1), Next(), Next()),
            13 => Of(Op.Multiply, g.Apply(Op.ToReal, Int(g, depth - 1)), g.Real(1 / 256.0)),
            _ => Of(Op.Abs, Next()),
        };
    }

    private static Node Distance(Graph g, bool up) => up ? g.Apply(Op.Add, g.Apply(Op.Subtract, g.Leaf(Op.Key), g.Leaf(Op.Query)), g.Int(Queries))
        : g.Apply(Op.Add, g.Apply(Op.Subtract, g.Leaf(Op.Query), g.Leaf(Op.Key)), g.Parameter(ScoreKind.Int, Keys, "n"));

    private Node Bucket(Graph g) => random.Next(3) switch
    {
        0 => g.Load(_pairs, g.Leaf(Op.Query), g.Leaf(Op.Key)),
        1 => g.Apply(Op.Remainder, g.Leaf(random.Next(2) == 0 ? Op.Query : Op.Key), g.Int(Buckets)),
        _ => g.Load(_documents, g.Leaf(Op.Batch), g.Leaf(random.Next(2) == 0 ? Op.Query : Op.Key)),
    };

    private Node Int(Graph g, int depth)
    {
        Node Next() => Int(g, depth - 1);
        return depth <= 0 ? random.Next(8) switch
        {
            0 or 1 => g.Leaf(Op.Query),
            2 or 3 => g.Leaf(Op.Key),
            4 => g.Leaf(Op.Head),
            5 => Bucket(g),
            6 => g.Parameter(ScoreKind.Int, random.Next(1, 200), $"w{random.Next(3)}"),
            _ => g.Int(random.Next(-100, 100)),
        }
        : random.Next(8) switch
        {
            0 => g.Apply(Op.Add, Next(), Next()),
            1 => g.Apply(Op.Subtract, Next(), Next()),
            2 => g.Apply(Op.Multiply, Next(), g.Int(random.Next(-3, 4))),
            3 => g.Apply(Op.Divide, Next(), g.Apply(Op.Add, g.Apply(Op.Abs, Next()), g.Int(1))),
            4 => g.Apply(Op.Remainder, Next(), g.Int(random.Next(1, 20))),
            5 => g.Apply(random.Next(2) == 0 ? Op.Min : Op.Max, Next(), Next()),
            6 => g.Apply(Op.Select, Bool(g, depth - 1), Next(), Next()),
            _ => g.Apply(random.Next(2) == 0 ? Op.Negate : Op.Abs, Next()),
        };
    }

    private Node Bool(Graph g, int depth)
    {
        Node Next() => Bool(g, depth - 1);
        return depth <= 0 ? random.Next(8) switch
        {
            0 => g.Apply(Op.LessOrEqual, g.Leaf(Op.Key), g.Leaf(Op.Query)),
            1 => g.Apply(Op.Equal, g.Load(_documents, g.Leaf(Op.Batch), g.Leaf(Op.Query)), g.Load(_documents, g.Leaf(Op.Batch), g.Leaf(Op.Key))),
            2 => g.Load(_mask, g.Leaf(Op.Batch), g.Leaf(Op.Query), g.Leaf(Op.Key)),
            3 => g.Load(_padding, g.Leaf(Op.Batch), g.Leaf(Op.Key)),
            4 => g.Load(_flags, Bucket(g)),
            5 => g.Load(_distances, Distance(g, random.Next(2) == 0)),
            6 => g.Apply(Op.Less, g.Load(_keys, g.Leaf(Op.Batch), g.Leaf(Op.Key)), g.Load(_queries, g.Leaf(Op.Batch), g.Leaf(Op.Query))),
            _ => g.Apply(Op.Less, g.Apply(Op.Subtract, g.Leaf(Op.Query), g.Leaf(Op.Key)), g.Parameter(ScoreKind.Int, random.Next(1, 100), "window")),
        }
        : random.Next(6) switch
        {
            0 => g.Apply(Op.And, Next(), Next()),
            1 => g.Apply(Op.Or, Next(), Next()),
            2 => g.Apply(Op.Not, Next()),
            3 => g.Apply(random.Next(2) == 0 ? Op.Less : Op.LessOrEqual, Int(g, depth), Int(g, depth)),
            4 => g.Apply(Op.Equal, Next(), Next()),
            _ => g.Apply(Op.Select, Next(), Next(), Next()),
        };
    }
}
