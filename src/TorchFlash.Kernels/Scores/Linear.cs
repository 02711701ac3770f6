namespace TorchFlash.Kernels.Scores;

/// <summary>An integer as a sum of whole numbers times what is itself no sum, parameters among it: each once, so that its interval is exact.</summary>
internal sealed record Linear(Dictionary<Node, long> Terms, long Constant)
{
    /// <summary>a - b.</summary>
    public static Linear Difference(Node a, Node b) => Sum(Of(a), Of(b), -1);

    public static Linear Of(Node node) => (node.Op, node.Arguments) switch
    {
        (Op.Constant, _) => new([], (long)node.Value),
        (Op.Add, [var a, var b]) => Sum(Of(a), Of(b), 1),
        (Op.Subtract, [var a, var b]) => Difference(a, b),
        (Op.Negate, [var a]) => Sum(new([], 0), Of(a), -1),
        (Op.Multiply, [var a, { Op: Op.Constant } factor]) when Of(a) is var terms && terms.FitsInt((long)factor.Value) => Sum(new([], 0), terms, (long)factor.Value),
        _ => new(new() { [node] = 1 }, 0),
    };

    /// <summary>As nodes.</summary>
    public Node ToNode(Graph graph)
    {
        Node? sum = null;
        foreach ((Node node, long factor) in Terms)
        {
            Node term = graph.Apply(Op.Multiply, node, graph.Int((int)factor));
            sum = sum is null ? term : graph.Apply(Op.Add, sum, term);
        }
        Node constant = graph.Int((int)Constant);
        return sum is null ? constant : graph.Apply(Op.Add, sum, constant);
    }

    /// <summary>Whether all numbers in it fit int, also once they are multiplied.</summary>
    public bool FitsInt(long factor = 1) => Terms.Values.Append(Constant).All(x => Math.BigMul(x, factor) is var y && y >= int.MinValue && y <= int.MaxValue);

    private static Linear Sum(Linear a, Linear b, long factor)
    {
        var terms = new Dictionary<Node, long>(a.Terms);
        foreach ((Node node, long x) in b.Terms)
        {
            if ((terms[node] = terms.GetValueOrDefault(node) + factor * x) == 0)
                terms.Remove(node);
        }
        return new(terms, a.Constant + factor * b.Constant);
    }
}
