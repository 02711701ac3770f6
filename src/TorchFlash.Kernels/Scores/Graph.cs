namespace TorchFlash.Kernels.Scores;

/// <summary>What a value of a score program is.</summary>
public enum ScoreKind : byte
{
    /// <summary>A number of the compute type.</summary>
    Real,

    /// <summary>A whole number that fits an int.</summary>
    Int,

    /// <summary>True or false.</summary>
    Bool,
}

/// <summary>What a node does.</summary>
internal enum Op : byte
{
    /// <summary>Leaves: the score, the gradient of the modified score, the indices of a pair, numbers.</summary>
    Score, Gradient, Batch, Head, Query, Key, Constant, Parameter,

    /// <summary>An element of a captured tensor at integer indices.</summary>
    Load,

    Add, Subtract, Multiply, Divide, Remainder, Negate, Abs, Min, Max, Exp, Log, Tanh, Sigmoid, Sqrt, ToReal,
    Less, LessOrEqual, Equal, And, Or, Not, Select,

    /// <summary>Made by the CPU's plan alone.</summary>
    MultiplyAdd, MinNative, MaxNative, PowerOfTwo, Quotient, Scale, Stride, FirstRow, FirstLane, LoadUniform, LoadAscending, LoadDescending, LoadStaged, LoadGather,
}

/// <summary>A value of a program: immutable, and in its graph the only one with this operation on these arguments.</summary>
/// <param name="Id">Number in its graph.</param>
/// <param name="Op">Operation.</param>
/// <param name="Kind">Kind of the value.</param>
/// <param name="Value">Of a constant and of a parameter.</param>
/// <param name="Tag">The tensor of a load, the name of a parameter.</param>
/// <param name="Arguments">Arguments.</param>
internal sealed record Node(int Id, Op Op, ScoreKind Kind, double Value, object? Tag, Node[] Arguments)
{
    public ScoreTensor Tensor => (ScoreTensor)Tag!;

    public bool Equals(Node? other) => ReferenceEquals(this, other);

    public override int GetHashCode() => Id;

    /// <summary>As a user would write it.</summary>
    public override string ToString() => Op switch
    {
        Op.Score => "s",
        Op.Gradient => "ds",
        Op.Batch => "b",
        Op.Head => "h",
        Op.Query => "i",
        Op.Key => "j",
        Op.Constant when Kind == ScoreKind.Bool => Value != 0 ? "true" : "false",
        Op.Constant => FormattableString.Invariant($"{Value}"),
        Op.Parameter => $"{Tag}",
        Op.Load => $"{Tensor.Name}[{string.Join<Node>(", ", Arguments)}]",
        Op.Add => Infix("+"),
        Op.Subtract => Infix("-"),
        Op.Multiply => Infix("*"),
        Op.Divide => Infix("/"),
        Op.Remainder => Infix("%"),
        Op.Less => Infix("<"),
        Op.LessOrEqual => Infix("<="),
        Op.Equal => Infix("=="),
        Op.And => Infix("&&"),
        Op.Or => Infix("||"),
        Op.Negate => $"-{Arguments[0]}",
        Op.Not => $"!{Arguments[0]}",
        Op.ToReal => $"{Arguments[0]}",
        Op.Select => $"({Arguments[0]} ? {Arguments[1]} : {Arguments[2]})",
        _ => $"{Op}({string.Join<Node>(", ", Arguments)})",
    };

    private string Infix(string sign) => $"({Arguments[0]} {sign} {Arguments[1]})";
}

/// <summary>
/// The nodes of some expressions. What is made twice is made once (common subexpressions), what can be computed at once is. For one
/// thread; whoever works on a program imports its nodes into a graph of his own.
/// </summary>
internal sealed class Graph
{
    private readonly Dictionary<(Op, ScoreKind, double, object?, (int, int, int, int, int)), Node> _nodes = [];

    public Node Leaf(Op op) => Intern(op, op is Op.Score or Op.Gradient ? ScoreKind.Real : ScoreKind.Int);

    public Node Int(int value) => Intern(Op.Constant, ScoreKind.Int, value);

    public Node Real(double value) => Intern(Op.Constant, ScoreKind.Real, value);

    public Node Bool(bool value) => Intern(Op.Constant, ScoreKind.Bool, value ? 1 : 0);

    /// <summary>A number that the code gets as an argument: another value needs no other code.</summary>
    public Node Parameter(ScoreKind kind, double value, string name) => Intern(Op.Parameter, kind, value, name);

    public Node Load(ScoreTensor tensor, params Node[] indices) => Intern(Op.Load, tensor.Kind, 0, tensor, indices);

    /// <summary>The node as it is described, no shorter one that is equal to it.</summary>
    public Node Intern(Op op, ScoreKind kind, double value = 0, object? tag = null, params Node[] arguments)
    {
        var key = (op, kind, value, tag, (Id(0), Id(1), Id(2), Id(3), Id(4)));
        if (!_nodes.TryGetValue(key, out Node? node))
            _nodes.Add(key, node = new Node(_nodes.Count, op, kind, value, tag, arguments));
        return node;

        int Id(int i) => i < arguments.Length ? arguments[i].Id : -1;
    }

    /// <summary>An operation, or what it is equal to.</summary>
    /// <exception cref="OverflowException">An integer constant leaves int.</exception>
    public Node Apply(Op op, params Node[] a)
    {
        // Of what commutes the constant comes last, else the older node first.
        if (op is Op.Add or Op.Multiply or Op.Min or Op.Max or Op.And or Op.Or or Op.Equal
            && (a[0].Op == Op.Constant, a[0].Id).CompareTo((a[1].Op == Op.Constant, a[1].Id)) > 0)
        {
            a = [a[1], a[0]];
        }
        ScoreKind kind = op switch
        {
            Op.ToReal => ScoreKind.Real,
            Op.Less or Op.LessOrEqual or Op.Equal => ScoreKind.Bool,
            Op.Select => a[1].Kind,
            _ => a[0].Kind,
        };
        bool dividesByZero = op is Op.Divide or Op.Remainder && kind == ScoreKind.Int && a[1] is { Op: Op.Constant, Value: 0 };
        if (!dividesByZero && Array.TrueForAll(a, x => x.Op == Op.Constant))
        {
            double value = Meaning.Of(op, a[0].Kind, a[0].Value, a.Length > 1 ? a[1].Value : 0, a.Length > 2 ? a[2].Value : 0);
            if (kind == ScoreKind.Int && value is < int.MinValue or > int.MaxValue)
                throw new OverflowException($"{Intern(op, kind, 0, null, a)} does not fit into int.");
            return Intern(Op.Constant, kind, value);
        }
        return (op, a) switch
        {
            (Op.Add or Op.Subtract, [var x, { Op: Op.Constant, Value: 0 }]) => x,
            (Op.Multiply or Op.Divide, [var x, { Op: Op.Constant, Value: 1 }]) => x,
            (Op.Multiply, [{ Kind: ScoreKind.Int }, { Op: Op.Constant, Value: 0 } zero]) => zero,
            (Op.And, [var x, { Op: Op.Constant } c]) => c.Value != 0 ? x : c,
            (Op.Or, [var x, { Op: Op.Constant } c]) => c.Value != 0 ? c : x,
            (Op.And or Op.Or or Op.Min or Op.Max, [var x, var y]) when x == y => x,
            (Op.Not or Op.Negate, [var x]) when x.Op == op => x.Arguments[0],
            (Op.Select, [{ Op: Op.Constant } c, var x, var y]) => c.Value != 0 ? x : y,
            (Op.Select, [_, var x, var y]) when x == y => x,
            _ => Intern(op, kind, 0, null, a),
        };
    }

    /// <summary>A node of another graph in this one.</summary>
    public Node Import(Node root) => Rewrite(root, (_, _) => null);

    /// <summary>The root over nodes that are exchanged, after their arguments were: change(node, its new arguments), or null to keep it.</summary>
    public Node Rewrite(Node root, Func<Node, Node[], Node?> change)
    {
        var to = new Dictionary<Node, Node>(ReferenceEqualityComparer.Instance);
        foreach (Node node in Order(root))
        {
            Node[] arguments = Array.ConvertAll(node.Arguments, x => to[x]);
            to[node] = change(node, arguments)
                ?? (node.Tag is null && arguments.Length > 0 ? Apply(node.Op, arguments) : Intern(node.Op, node.Kind, node.Value, node.Tag, arguments));
        }
        return to[root];
    }

    /// <summary>Every node that the roots need, arguments first: the order depends on the structure alone.</summary>
    public static List<Node> Order(params IEnumerable<Node> roots)
    {
        var order = new List<Node>();
        var seen = new HashSet<Node>(ReferenceEqualityComparer.Instance);
        foreach (Node root in roots)
            Visit(root);
        return order;

        void Visit(Node node)
        {
            if (!seen.Add(node))
                return;
            foreach (Node x in node.Arguments)
                Visit(x);
            order.Add(node);
        }
    }
}
