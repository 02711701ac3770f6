using System.Runtime.CompilerServices;

namespace TorchFlash.Kernels.Scores;

/// <summary>How many of the pairs of a tile exist.</summary>
internal enum TileClass
{
    None,
    Some,
    All,
}

/// <summary>
/// A program on a problem of known sizes with known tensors: which pairs of a tile exist, by interval arithmetic, without looking at a
/// single pair. Safe for many threads.
/// </summary>
internal sealed class TileAnalysis
{
    /// <summary>No diagonal of a problem is as far out.</summary>
    private const int Unbounded = int.MaxValue / 2;

    /// <summary>More than any sensible program; the rest goes to the heap.</summary>
    private const int MostOnStack = 256;

    private readonly AttentionProblem _problem;
    private readonly Step[] _steps;
    private readonly bool _isEmpty;

    /// <param name="program">The program.</param>
    /// <param name="problem">Its sizes.</param>
    /// <param name="tensors">The program's tensors; they are read here and not kept.</param>
    /// <param name="threads">Threads to read large ones on; what is found does not depend on it.</param>
    /// <exception cref="ArgumentOutOfRangeException">An index may leave its tensor, an integer int, a divisor may be 0.</exception>
    public TileAnalysis(ScoreProgram program, in AttentionProblem problem, ReadOnlySpan<CapturedView> tensors, int threads = 1)
    {
        if (tensors.Length != program.Tensors.Count)
            throw new ArgumentException($"The program reads {program.Tensors.Count} tensors, but {tensors.Length} are given.", nameof(tensors));
        _problem = problem;
        _isEmpty = problem is not { Batch: > 0, Heads: > 0, QueryLength: > 0, KeyLength: > 0 };

        var graph = new Graph();
        Node where = graph.Bool(true);
        (FirstDiagonal, LastDiagonal) = (-Unbounded, Unbounded);
        foreach (Node condition in Conjuncts(graph.Import(program.Visible)))
        {
            if (Band(condition) is not { } band)
                where = graph.Apply(Op.And, where, condition);
            else
                (FirstDiagonal, LastDiagonal) = (Math.Max(FirstDiagonal, band.First), Math.Min(LastDiagonal, band.Last));
        }
        Where = where;

        var builder = new Builder(program, problem, tensors, threads);
        if (!_isEmpty)
            builder.Check(Graph.Order(program.Output, program.Visible));
        List<Node> nodes = Graph.Order(graph.Rewrite(where, (node, arguments) => OneSided(graph, node, arguments)));
        _steps = _isEmpty ? [] : builder.Steps(nodes);
        Leaves leaves = builder.DependenceOf(where);
        (DependsOnBatch, DependsOnHead) = (leaves.HasFlag(Leaves.Batch), leaves.HasFlag(Leaves.Head));
    }

    /// <summary>What a value may depend on beside queries and keys.</summary>
    [Flags]
    private enum Leaves : byte
    {
        None = 0,
        Batch = 1,
        Head = 2,
    }

    /// <summary>j - i of the pairs that exist lies between these (the conditions of that form, which are not part of <see cref="Where"/>).</summary>
    public int FirstDiagonal { get; }

    /// <summary>See <see cref="FirstDiagonal"/>; int.MaxValue / 2 where there is no bound.</summary>
    public int LastDiagonal { get; }

    /// <summary>What is left of the conditions; true where nothing is. Its structure does not depend on parameters.</summary>
    public Node Where { get; }

    /// <summary>Whether <see cref="Where"/> differs from one batch entry or head to the next.</summary>
    public bool DependsOnBatch { get; }

    /// <summary>See <see cref="DependsOnBatch"/>.</summary>
    public bool DependsOnHead { get; }

    /// <summary>Of the pairs of queries i0 .. i1 - 1 and keys j0 .. j1 - 1 how many exist as far as <see cref="Where"/> says: never wrong, but perhaps Some without need.</summary>
    [SkipLocalsInit]
    public TileClass Classify(int b, int h, int i0, int i1, int j0, int j1)
    {
        if (_isEmpty || i0 >= i1 || j0 >= j1)
            return TileClass.None;
        Step[] steps = _steps;
        Span<Interval> values = steps.Length <= MostOnStack ? stackalloc Interval[steps.Length] : new Interval[steps.Length];
        var box = new Box(new(b, b), new(h, h), new(i0, i1 - 1), new(j0, j1 - 1));
        for (int k = 0; k < steps.Length; k++)
            values[k] = Value(steps[k], box, values);
        Interval visible = values[^1];
        return visible.IsFalse ? TileClass.None : visible.IsTrue ? TileClass.All : TileClass.Some;
    }

    /// <summary>
    /// The tiles along one side for a block of the other that are not <see cref="TileClass.None"/> as far as <see cref="Where"/> says, in ascending order.
    /// Long stretches of one class cost few evaluations.
    /// </summary>
    /// <param name="b">Batch entry.</param>
    /// <param name="h">Query head.</param>
    /// <param name="from">First query (or key) of the block.</param>
    /// <param name="to">The one after its last.</param>
    /// <param name="queriesFixed">Whether the block is of queries and the tiles of keys, else the other way round.</param>
    /// <param name="first">The tile that holds this one is the first.</param>
    /// <param name="end">Tiles that begin here or later are left out.</param>
    /// <param name="step">Length of a tile; tile t begins at t * step. The last one ends with its side.</param>
    /// <param name="visits">Where they are appended.</param>
    public void Visit(int b, int h, int from, int to, bool queriesFixed, int first, int end, int step, List<(int Tile, TileClass Class)> visits)
    {
        int length = queriesFixed ? _problem.KeyLength : _problem.QueryLength;
        Among(Math.Max(first, 0) / step, (int)(((long)Math.Min(end, length) + step - 1) / step));

        void Among(int begin, int stop)
        {
            if (begin >= stop)
                return;
            int low = begin * step, high = (int)Math.Min((long)stop * step, length);
            TileClass some = queriesFixed ? Classify(b, h, from, to, low, high) : Classify(b, h, low, high, from, to);
            if (some == TileClass.Some && stop - begin > 1)
            {
                int middle = begin + (stop - begin) / 2;
                Among(begin, middle);
                Among(middle, stop);
                return;
            }
            for (int tile = begin; tile < stop && some != TileClass.None; tile++)
                visits.Add((tile, some));
        }
    }

    private static IEnumerable<Node> Conjuncts(Node node) =>
        node.Op == Op.And ? Conjuncts(node.Arguments[0]).Concat(Conjuncts(node.Arguments[1])) : [node];

    /// <summary>The diagonals of a condition on j - i alone, null of any other: whether it is one does not depend on parameters, which diagonals does.</summary>
    private static (int First, int Last)? Band(Node condition)
    {
        bool negated = condition.Op == Op.Not;
        Node comparison = negated ? condition.Arguments[0] : condition;
        if (!IsIntComparison(comparison) || negated && comparison.Op == Op.Equal)
            return null;
        // The condition is: difference + slack <= 0 (or = 0), and not a <= b is b < a.
        var difference = Linear.Difference(comparison.Arguments[negated ? 1 : 0], comparison.Arguments[negated ? 0 : 1]);
        long sign = 0, query = 0, rest = difference.Constant + (comparison.Op == (negated ? Op.LessOrEqual : Op.Less) ? 1 : 0);
        foreach ((Node node, long factor) in difference.Terms)
        {
            switch (node.Op)
            {
                case Op.Key: sign = factor; break;
                case Op.Query: query = factor; break;
                case Op.Parameter: rest += factor * (long)node.Value; break;
                default: return null;
            }
        }
        if (sign is not (1 or -1) || query != -sign)
            return null;
        int bound = (int)Math.Clamp(-sign * rest, -Unbounded, Unbounded);
        return comparison.Op == Op.Equal ? (bound, bound) : sign > 0 ? (-Unbounded, bound) : (bound, Unbounded);
    }

    private static bool IsIntComparison(Node node) => node.Op is Op.Less or Op.LessOrEqual or Op.Equal && node.Arguments[0].Kind == ScoreKind.Int;

    /// <summary>A comparison that has a term on both sides, with each on one: i + j &lt;= i + 3 as j - 3 &lt;= 0.</summary>
    private static Node? OneSided(Graph graph, Node node, Node[] arguments)
    {
        if (!IsIntComparison(node))
            return null;
        var difference = Linear.Difference(arguments[0], arguments[1]);
        bool isShorter = difference.Terms.Count < Linear.Of(arguments[0]).Terms.Count + Linear.Of(arguments[1]).Terms.Count;
        return isShorter && difference.FitsInt() ? graph.Apply(node.Op, difference.ToNode(graph), graph.Int(0)) : null;
    }

    [SkipLocalsInit]
    private static Interval Value(in Step step, in Box box, ReadOnlySpan<Interval> values) => step.Op switch
    {
        Op.Batch => box.Batch,
        Op.Head => box.Head,
        Op.Query => box.Queries,
        Op.Key => box.Keys,
        Op.Constant => step.Value,
        Op.Load => Load(step, values),
        _ => Interval.Apply(step.Op, step.Kind, values[step.A], values[step.B], values[step.C]),
    };

    [SkipLocalsInit]
    private static Interval Load(in Step step, ReadOnlySpan<Interval> values)
    {
        Span<Interval> index = stackalloc Interval[ScoreTensor.MaxDimensions];
        for (int k = 0; k < step.Index.Length; k++)
            index[k] = values[step.Index[k]];
        return step.Summary!.Range(index[..step.Index.Length]);
    }

    private readonly record struct Box(Interval Batch, Interval Head, Interval Queries, Interval Keys);

    /// <summary>A node, ready to be evaluated: its arguments are numbers of steps before it.</summary>
    private readonly record struct Step(Op Op, ScoreKind Kind, int A, int B, int C, Interval Value, Summary? Summary, int[] Index);

    /// <summary>Steps and summaries, while there are tensors to read.</summary>
    private readonly ref struct Builder(ScoreProgram program, AttentionProblem problem, ReadOnlySpan<CapturedView> tensors, int threads)
    {
        private readonly Dictionary<(ScoreTensor, bool, bool, bool, bool), Summary> _summaries = [];
        private readonly ReadOnlySpan<CapturedView> _tensors = tensors;

        public Step[] Steps(List<Node> nodes)
        {
            Dictionary<Node, int> number = Numbers(nodes);
            var steps = new Step[nodes.Count];
            for (int k = 0; k < steps.Length; k++)
                steps[k] = StepOf(nodes[k], number);
            return steps;
        }

        /// <summary>Refuses what may leave a tensor or int, by the intervals of the whole problem. Of tensors only integers are read.</summary>
        public void Check(List<Node> nodes)
        {
            var box = new Box(new(0, problem.Batch - 1), new(0, problem.Heads - 1), new(0, problem.QueryLength - 1), new(0, problem.KeyLength - 1));
            Dictionary<Node, int> number = Numbers(nodes);
            var values = new Interval[nodes.Count];
            for (int k = 0; k < values.Length; k++)
            {
                Node node = nodes[k];
                if (node.Op == Op.Load)
                    CheckIndices(node, Array.ConvertAll(node.Arguments, x => values[number[x]]));
                values[k] = node.Op == Op.Load && node.Kind != ScoreKind.Int ? node.Kind == ScoreKind.Bool ? Interval.Either : Interval.Anything
                    : Value(StepOf(node, number), box, values);
                if (node.Kind == ScoreKind.Int && !(values[k].Lo >= int.MinValue && values[k].Hi <= int.MaxValue))
                {
                    throw new ArgumentOutOfRangeException(nameof(AttentionProblem.Score),
                        node.Op is Op.Divide or Op.Remainder && values[number[node.Arguments[1]]] is { HasZero: true } divisor
                            ? $"{node}: the divisor, {node.Arguments[1]}, is between {divisor.Lo} and {divisor.Hi}, so it may be 0."
                            : $"{node} is between {values[k].Lo} and {values[k].Hi}, which int does not hold.");
                }
            }
        }

        /// <summary>What a node depends on; an index along which a tensor is the same everywhere counts for nothing.</summary>
        public Leaves DependenceOf(Node root)
        {
            var leaves = new Dictionary<Node, Leaves>();
            foreach (Node node in Graph.Order(root))
            {
                Leaves own = node.Op switch
                {
                    Op.Batch => Leaves.Batch,
                    Op.Head => Leaves.Head,
                    _ => Leaves.None,
                };
                for (int k = 0; k < node.Arguments.Length; k++)
                    own |= node.Op == Op.Load && Strides(View(node.Tensor))[k] == 0 ? Leaves.None : leaves[node.Arguments[k]];
                leaves[node] = own;
            }
            return leaves[root];
        }

        private static void CheckIndices(Node load, Interval[] index)
        {
            for (int k = 0; k < index.Length; k++)
            {
                int size = load.Tensor.Shape[k];
                if (index[k].Lo >= 0 && index[k].Hi < size)
                    continue;
                string advice = size == 0 ? "" : $" If it never goes as far, say so: Math.Clamp({load.Arguments[k]}, 0, {size - 1}).";
                throw new ArgumentOutOfRangeException(nameof(AttentionProblem.Score),
                    $"{load}: index {k}, {load.Arguments[k]}, is between {index[k].Lo} and {index[k].Hi}, but {load.Tensor.Name} is {size} long there "
                    + $"(its shape is [{string.Join(", ", load.Tensor.Shape)}]).{advice}");
            }
        }

        private static Dictionary<Node, int> Numbers(List<Node> nodes) => nodes.Index().ToDictionary(x => x.Item, x => x.Index);

        private static ReadOnlySpan<long> Strides(in CapturedView view) => new long[] { view.Stride0, view.Stride1, view.Stride2, view.Stride3 };

        /// <summary>Whether an index goes along with queries or keys, step by step.</summary>
        private static bool Follows(Node index) => index.Op switch
        {
            Op.Query or Op.Key => true,
            Op.Divide or Op.Remainder or Op.Load => false,
            _ => index.Arguments.Any(Follows),
        };

        private CapturedView View(ScoreTensor tensor) => _tensors[program.Tensors.Index().First(x => x.Item == tensor).Index];

        private Step StepOf(Node node, Dictionary<Node, int> number)
        {
            int[] arguments = Array.ConvertAll(node.Arguments, x => number[x]);
            return node.Op switch
            {
                Op.Constant or Op.Parameter => Constant(node.Kind == ScoreKind.Real ? Interval.Of(node.Value) : new(node.Value, node.Value)),
                Op.Score => Constant(Interval.Anything),
                Op.Load => new(Op.Load, node.Kind, 0, 0, 0, default, SummaryOf(node), arguments),
                _ => new(node.Op, node.Arguments.Length == 0 ? node.Kind : node.Arguments[0].Kind, At(0), At(1), At(2), default, null, []),
            };

            int At(int k) => k < arguments.Length ? arguments[k] : 0;

            Step Constant(Interval value) => new(Op.Constant, node.Kind, 0, 0, 0, value, null, []);
        }

        private Summary SummaryOf(Node load)
        {
            bool[] follows = new bool[ScoreTensor.MaxDimensions];
            for (int k = 0; k < load.Arguments.Length; k++)
                follows[k] = Follows(load.Arguments[k]);
            var key = (load.Tensor, follows[0], follows[1], follows[2], follows[3]);
            if (!_summaries.TryGetValue(key, out Summary? summary))
                _summaries[key] = summary = Summary.Of(load.Tensor, View(load.Tensor), problem.ElementType, follows, threads);
            return summary;
        }
    }
}
