using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cpu.Scores;

/// <summary>What a tile program does.</summary>
internal enum ScorePass
{
    /// <summary>Forward, keys x queries: from raw products to modified scores.</summary>
    Modify,

    /// <summary>Backward, queries x keys: from raw products to modified scores.</summary>
    ModifyAgain,

    /// <summary>The same, and the raw products become d(modified score)/d(raw product * scale).</summary>
    ModifyWithDerivative,

    /// <summary>Backward, queries x keys: raw products and the gradient of modified scores become that of raw * scale, and captured tensors receive theirs.</summary>
    Gradient,
}

/// <summary>Where the values of a plan go.</summary>
internal enum Target
{
    Raw,
    Scores,
    Gradients,
    Captured,
}

/// <param name="Value">What is written.</param>
/// <param name="Target">Where; what captured tensors get is added.</param>
/// <param name="Place">The load whose tensor gets it, its address by the strides of the gradient.</param>
internal sealed record Sink(Node Value, Target Target, Node? Place = null);

/// <summary>
/// A program made ready for tiles. Every value has the level of the loop it belongs to: 0 the tile, 1 its rows, 2 the lanes; a load is told
/// apart by how its address moves along the lanes. Parameters are known by their number (<see cref="Node.Value"/>), so are tensors
/// (<see cref="Node.Tag"/>): a plan serves every program of its structure.
/// </summary>
internal sealed class Plan
{
    private readonly Graph _graph;
    private readonly Functions _functions;
    private readonly Dictionary<Node, int> _levels = [];
    private readonly Op _row, _lane;

    /// <param name="graph">Graph of the nodes.</param>
    /// <param name="output">The modified score.</param>
    /// <param name="where">Which pairs exist.</param>
    /// <param name="pass">What is wanted.</param>
    /// <param name="wantsGradient">Which tensors get a gradient.</param>
    /// <param name="isDouble">The compute type.</param>
    /// <param name="lower">Whether to machine operations; else nodes stay as they are.</param>
    public Plan(Graph graph, Node output, Node where, ScorePass pass, ReadOnlySpan<bool> wantsGradient, bool isDouble, bool lower)
    {
        _graph = graph;
        _functions = new Functions(graph, isDouble);
        (_row, _lane) = pass == ScorePass.Modify ? (Op.Key, Op.Query) : (Op.Query, Op.Key);
        Node score = graph.Leaf(Op.Score), zero = graph.Real(0);
        ScalesScores = output != score;
        Func<Node, Node> final = lower ? Lower : node => node;
        if (pass == ScorePass.Gradient)
        {
            Node gradient = graph.Leaf(Op.Gradient);
            Dictionary<Node, Node> adjoints = Derivative.Adjoints(graph, output, gradient);
            Node ofScore = Where(adjoints.GetValueOrDefault(score, zero), zero);
            if (ofScore != gradient)
                Sinks.Add(new Sink(final(ofScore), Target.Gradients));
            foreach (Node load in Graph.Order(output).Where(node => node.Op == Op.Load && adjoints.ContainsKey(node)))
            {
                if (wantsGradient[(int)load.Tag!] && adjoints[load] is not { Op: Op.Constant, Value: 0 })
                    Sinks.Add(new Sink(final(Where(adjoints[load], zero)), Target.Captured, lower ? Load(load, Array.ConvertAll(load.Arguments, Lower), toGradient: true) : load));
            }
        }
        else
        {
            Sinks.Add(new Sink(final(Where(output, graph.Real(double.NegativeInfinity))), Target.Scores));
            if (pass == ScorePass.ModifyWithDerivative)
                Sinks.Add(new Sink(final(Where(Derivative.Adjoints(graph, output, graph.Real(1)).GetValueOrDefault(score, zero), zero)), Target.Raw));
        }
        Nodes = Graph.Order(Sinks.SelectMany(sink => sink.Place == null ? (Node[])[sink.Value] : [sink.Value, sink.Place]));
        Staged = [.. Graph.Order(Sinks.Select(sink => sink.Value)).Where(node => node.Op == Op.LoadStaged)];
        Nodes.ForEach(node => Level(node)); // from here on nothing changes: many threads may ask

        Node Where(Node x, Node otherwise) => graph.Apply(Op.Select, where, x, otherwise);
    }

    /// <summary>In the order in which they are written.</summary>
    public List<Sink> Sinks { get; } = [];

    /// <summary>All values, arguments first.</summary>
    public List<Node> Nodes { get; }

    /// <summary>Loads that are transposed once a tile.</summary>
    public List<Node> Staged { get; }

    /// <summary>Whether s is Raw * Scale; a program that only hides leaves raw products as they are.</summary>
    public bool ScalesScores { get; }

    /// <summary>Whether an index is that of the rows; else it is that of the lanes.</summary>
    public bool IsRow(Op op) => op == _row;

    /// <summary>0: the same in the whole tile, 1: along a row, 2: another in every lane.</summary>
    public int Level(Node node)
    {
        if (!_levels.TryGetValue(node, out int level))
        {
            level = node.Op is Op.Score or Op.Gradient or Op.LoadAscending or Op.LoadDescending or Op.LoadStaged or Op.LoadGather || node.Op == _lane ? 2
                : node.Op == _row ? 1 : node.Arguments.Select(Level).DefaultIfEmpty().Max();
            _levels.Add(node, level);
        }
        return level;
    }

    private Node Lower(Node root) => _graph.Rewrite(root, (node, a) => (node.Op, node.Kind, a) switch
    {
        (Op.Score, _, _) when ScalesScores => _graph.Apply(Op.Multiply, node, _graph.Intern(Op.Scale, ScoreKind.Real)),
        (Op.Load, _, _) => Load(node, a, toGradient: false),
        (Op.Multiply, ScoreKind.Real, [var x, var y]) => Product(x, y),
        (Op.Divide, ScoreKind.Real, [var x, var y]) when Level(y) < Level(x) => Product(x, _graph.Apply(Op.Divide, _graph.Real(1), y)),
        (Op.Add, ScoreKind.Real, [{ Op: Op.Multiply } p, var c]) when Level(p) >= Level(c) => MultiplyAdd(p, c),
        (Op.Add, ScoreKind.Real, [var c, { Op: Op.Multiply } p]) when Level(p) >= Level(c) => MultiplyAdd(p, c),
        (Op.Exp, _, [var x]) => _functions.Exp(x),
        (Op.Tanh, _, [var x]) => _functions.Tanh(x, Product),
        (Op.Sigmoid, _, [var x]) => _functions.Sigmoid(x),
        _ => null,
    });

    private Node MultiplyAdd(Node product, Node c) => _graph.Intern(Op.MultiplyAdd, ScoreKind.Real, 0, null, product.Arguments[0], product.Arguments[1], c);

    /// <summary>a b; (x u) v becomes x (u v) where u v is computed less often.</summary>
    private Node Product(Node a, Node b)
    {
        (Node x, Node v) = Level(a) >= Level(b) ? (a, b) : (b, a);
        if (x is { Op: Op.Multiply, Arguments: [var p, var q] } && Math.Min(Level(p), Level(q)) < Level(x) && Level(v) < Level(x))
            return Level(p) >= Level(q) ? Product(p, Product(q, v)) : Product(q, Product(p, v));
        return _graph.Apply(Op.Multiply, x, v);
    }

    /// <summary>A load by the way its address moves from lane to lane. Its arguments are the indices of the first one, and before them those of a gather its offsets.</summary>
    private Node Load(Node node, Node[] index, bool toGradient)
    {
        int last = index.Length - 1;
        int[] moving = [.. Enumerable.Range(0, index.Length).Where(k => Level(index[k]) == 2)];
        if (moving.Length == 0)
            return Make(Op.LoadUniform, index);
        if (moving is [var only] && Slope(index[only], _lane) is 1 or -1)
        {
            bool ascends = Slope(index[moving[0]], _lane) > 0;
            Node[] first = [.. index.Select(x => At(x, _lane, Op.FirstLane))];
            if (moving[0] == last)
                return Make(ascends ? Op.LoadAscending : Op.LoadDescending, first);
            Node[] origin = [.. first.Select((x, k) => k == last ? At(x, _row, Op.FirstRow) : x)];
            if (ascends && Slope(index[last], _row) == 1 && Array.TrueForAll(origin, x => Level(x) == 0))
                return Make(Op.LoadStaged, origin, moving[0]);
        }
        Node offset = moving.Select(k => k == last && !toGradient ? index[k] : _graph.Apply(Op.Multiply, index[k], _graph.Intern(Op.Stride, ScoreKind.Int, toGradient ? k + 4 : k, node.Tag)))
            .Aggregate((a, b) => _graph.Apply(Op.Add, a, b));
        return Make(Op.LoadGather, [offset, .. index.Select(x => Level(x) == 2 ? _graph.Int(0) : x)]);

        Node Make(Op op, Node[] arguments, double value = 0) => _graph.Intern(op, node.Kind, value, node.Tag, arguments);
    }

    /// <summary>How much a value grows from one row or lane to the next, if always by the same number; else null.</summary>
    private double? Slope(Node node, Op variable) => (node.Op, node.Arguments) switch
    {
        _ when node.Op == variable => 1,
        _ when Level(node) < (variable == _lane ? 2 : 1) => 0,
        (Op.Add, [var a, var b]) => Slope(a, variable) + Slope(b, variable),
        (Op.Subtract, [var a, var b]) => Slope(a, variable) - Slope(b, variable),
        (Op.Negate, [var a]) => -Slope(a, variable),
        (Op.Multiply, [var a, { Op: Op.Constant } c]) => Slope(a, variable) * c.Value,
        _ => null,
    };

    /// <summary>A value where the tile begins.</summary>
    private Node At(Node node, Op variable, Op first) => _graph.Rewrite(node, (x, _) => x.Op == variable ? _graph.Leaf(first) : null);
}
