namespace TorchFlash.Kernels.Scores;

/// <summary>
/// What every operation means, one pair at a time and in double: integers are whole, truth values 0 or 1. Everything that computes
/// programs faster is tested against it.
/// </summary>
internal static class Meaning
{
    /// <param name="op">Operation.</param>
    /// <param name="kind">Kind of its first argument.</param>
    /// <param name="a">First argument.</param>
    /// <param name="b">Second argument, if there is one.</param>
    /// <param name="c">Third argument, if there is one.</param>
    public static double Of(Op op, ScoreKind kind, double a, double b, double c) => op switch
    {
        Op.Add => a + b,
        Op.Subtract => a - b,
        Op.Multiply => a * b,
        Op.Divide => kind == ScoreKind.Int ? Math.Truncate(a / b) : a / b,
        Op.Remainder => a % b,
        Op.Negate => -a,
        Op.Abs => Math.Abs(a),
        Op.Min => Math.Min(a, b),
        Op.Max => Math.Max(a, b),
        Op.Exp => Math.Exp(a),
        Op.Log => Math.Log(a),
        Op.Tanh => Math.Tanh(a),
        Op.Sigmoid => 1 / (1 + Math.Exp(-a)),
        Op.Sqrt => Math.Sqrt(a),
        Op.ToReal => a,
        Op.Less => a < b ? 1 : 0,
        Op.LessOrEqual => a <= b ? 1 : 0,
        Op.Equal => a == b ? 1 : 0,
        Op.And => a * b,
        Op.Or => Math.Max(a, b),
        Op.Not => 1 - a,
        Op.Select => a != 0 ? b : c,
        _ => throw new ArgumentOutOfRangeException(nameof(op), op, "Not an operation of a program."),
    };

    /// <summary>A node for one pair; load(tensor, indices) is an element of a captured tensor.</summary>
    public static double Evaluate(Node root, Func<ScoreTensor, int[], double> load, double s, int b, int h, int i, int j, double gradient = 0)
    {
        var values = new Dictionary<Node, double>();
        foreach (Node node in Graph.Order(root))
        {
            double[] a = Array.ConvertAll(node.Arguments, x => values[x]);
            values[node] = node.Op switch
            {
                Op.Score => s,
                Op.Gradient => gradient,
                Op.Batch => b,
                Op.Head => h,
                Op.Query => i,
                Op.Key => j,
                Op.Constant or Op.Parameter => node.Value,
                Op.Load => load(node.Tensor, Array.ConvertAll(a, x => (int)x)),
                _ => Of(node.Op, node.Arguments[0].Kind, a[0], a.Length > 1 ? a[1] : 0, a.Length > 2 ? a[2] : 0),
            };
        }
        return values[root];
    }
}
