namespace TorchFlash.Kernels.Scores;

/// <summary>Reverse mode, symbolically: the adjoint of a node is the sum, over its uses, of the use's adjoint times its partial derivative.</summary>
internal static class Derivative
{
    /// <summary>seed * d(output)/d(node) for every real node that the output depends on, loads of captured tensors among them.</summary>
    public static Dictionary<Node, Node> Adjoints(Graph graph, Node output, Node seed)
    {
        var adjoint = new Dictionary<Node, Node> { [output] = seed };
        foreach (Node node in Enumerable.Reverse(Graph.Order(output)))
        {
            if (node.Op == Op.Load || !adjoint.TryGetValue(node, out Node? d))
                continue;
            for (int k = 0; k < node.Arguments.Length; k++)
            {
                Node x = node.Arguments[k];
                if (x.Kind == ScoreKind.Real && Term(graph, node, k, d) is { } term)
                    adjoint[x] = adjoint.TryGetValue(x, out Node? sum) ? graph.Apply(Op.Add, sum, term) : term;
            }
        }
        return adjoint;
    }

    /// <summary>d * dy/d(k-th argument), null for 0. At a corner min and max follow their first argument, and |x| has 0.</summary>
    private static Node? Term(Graph graph, Node y, int k, Node d)
    {
        Node a = y.Arguments[0], b = y.Arguments.Length > 1 ? y.Arguments[1] : a, zero = graph.Real(0), one = graph.Real(1);
        return (y.Op, k) switch
        {
            (Op.Add, _) or (Op.Subtract, 0) => d,
            (Op.Subtract, 1) or (Op.Negate, _) => graph.Apply(Op.Negate, d),
            (Op.Multiply, 0) => Times(b),
            (Op.Multiply, 1) => Times(a),
            (Op.Divide, 0) => graph.Apply(Op.Divide, d, b),
            (Op.Divide, 1) => graph.Apply(Op.Negate, graph.Apply(Op.Divide, Times(y), b)),
            (Op.Abs, _) => graph.Apply(Op.Select, graph.Apply(Op.Less, zero, a), d, If(graph.Apply(Op.Less, a, zero), graph.Apply(Op.Negate, d))),
            (Op.Min, 0) => If(graph.Apply(Op.LessOrEqual, a, b), d),
            (Op.Min, 1) => If(graph.Apply(Op.Less, b, a), d),
            (Op.Max, 0) => If(graph.Apply(Op.LessOrEqual, b, a), d),
            (Op.Max, 1) => If(graph.Apply(Op.Less, a, b), d),
            (Op.Exp, _) => Times(y),
            (Op.Log, _) => graph.Apply(Op.Divide, d, a),
            (Op.Tanh, _) => Times(graph.Apply(Op.Subtract, one, graph.Apply(Op.Multiply, y, y))),
            (Op.Sigmoid, _) => Times(graph.Apply(Op.Multiply, y, graph.Apply(Op.Subtract, one, y))),
            (Op.Sqrt, _) => graph.Apply(Op.Divide, Times(graph.Real(0.5)), y),
            (Op.Select, 1) => If(a, d),
            (Op.Select, 2) => graph.Apply(Op.Select, a, zero, d),
            _ => null,
        };

        Node Times(Node x) => graph.Apply(Op.Multiply, d, x);

        Node If(Node condition, Node x) => graph.Apply(Op.Select, condition, x, zero);
    }
}
