using TorchFlash.Kernels.Scores;

namespace TorchFlash.Scores;

/// <summary>A node of a program under construction, with the operators of C#: what a lambda says, without a lambda's translation.</summary>
internal readonly record struct Term(Graph Graph, Node Node)
{
    public static Term operator +(Term a, Term b) => a.Apply(Op.Add, b);

    public static Term operator -(Term a, Term b) => a.Apply(Op.Subtract, b);

    public static Term operator *(Term a, Term b) => a.Apply(Op.Multiply, b);

    public static Term operator /(Term a, Term b) => a.Apply(Op.Divide, b);

    public static Term operator <(Term a, Term b) => a.Apply(Op.Less, b);

    public static Term operator >(Term a, Term b) => b < a;

    public static Term operator <=(Term a, Term b) => a.Apply(Op.LessOrEqual, b);

    public static Term operator >=(Term a, Term b) => b <= a;

    public static Term operator &(Term a, Term b) => a.Apply(Op.And, b);

    public static Term operator |(Term a, Term b) => a.Apply(Op.Or, b);

    public static Term operator !(Term a) => new(a.Graph, a.Graph.Apply(Op.Not, a.Node));

    public Term Is(Term other) => Apply(Op.Equal, other);

    public Term Clamp(Term low, Term high) => Apply(Op.Max, low).Apply(Op.Min, high);

    public Term Real() => new(Graph, Graph.Apply(Op.ToReal, Node));

    public Term Tanh() => new(Graph, Graph.Apply(Op.Tanh, Node));

    /// <summary>This condition's choice.</summary>
    public Term Choose(Term yes, Term no) => new(Graph, Graph.Apply(Op.Select, Node, yes.Node, no.Node));

    private Term Apply(Op op, Term other) => new(Graph, Graph.Apply(op, Node, other.Node));
}

/// <summary>What a program under construction can say.</summary>
internal readonly record struct Terms(Graph Graph)
{
    public Term S => Leaf(Op.Score);

    public Term B => Leaf(Op.Batch);

    public Term H => Leaf(Op.Head);

    public Term I => Leaf(Op.Query);

    public Term J => Leaf(Op.Key);

    public Term Constant(int value) => new(Graph, Graph.Int(value));

    public Term Parameter(int value, string name) => new(Graph, Graph.Parameter(ScoreKind.Int, value, name));

    public Term Parameter(double value, string name) => new(Graph, Graph.Parameter(ScoreKind.Real, value, name));

    public Term Load(ScoreTensor tensor, params ReadOnlySpan<Term> indices)
    {
        Node[] nodes = new Node[indices.Length];
        for (int k = 0; k < nodes.Length; k++)
            nodes[k] = indices[k].Node;
        return new(Graph, Graph.Load(tensor, nodes));
    }

    /// <summary>The element of a tensor that broadcasts to [B, H, Nq, Nk] from the right; key: the index of the key.</summary>
    public Term Broadcast(ScoreTensor tensor, Term key)
    {
        Term[] pair = [B, H, I, key], indices = pair[^tensor.Shape.Count..];
        for (int k = 0; k < indices.Length; k++)
        {
            if (tensor.Shape[k] == 1)
                indices[k] = Constant(0);
        }
        return Load(tensor, indices);
    }

    /// <summary>A program of the modified score that the function makes.</summary>
    public static ScoreProgram Score(Func<Terms, Term> modification) => ScoreProgram.Build(graph => modification(new(graph)).Node, _ => null);

    /// <summary>A program of the condition that the function makes.</summary>
    public static ScoreProgram Where(Func<Terms, Term> condition) => ScoreProgram.Build(_ => null, graph => condition(new(graph)).Node);

    private Term Leaf(Op op) => new(Graph, Graph.Leaf(op));
}
