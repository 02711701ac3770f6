using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cpu.Scores;

/// <summary>
/// Exp, tanh and the sigmoid in terms of what a register can do: 2^y = 2^n (1 + f g(f)) with n = round(y), f = y - n, where g is minimax on
/// [-1/2, 1/2] in the relative error (Remez, 50 digits): 1.1e-8 for float, 1.8e-17 for double. So 2^y - 1 is accurate near 0, too.
/// </summary>
internal sealed class Functions(Graph graph, bool isDouble)
{
    private const double Log2E = 1.4426950408889634;

    private static readonly double[] s_single =
        [0.00015403512225020677, 0.0013390735257416964, 0.009618237614631653, 0.05550357326865196, 0.24022649228572845, 0.6931471824645996];

    private static readonly double[] s_double =
    [
        4.445536131848176e-10, 7.072561768398301e-09, 1.0178121305806717e-07, 1.3215442723878389e-06, 1.5252733701200714e-05, 0.00015403530441481284,
        0.0013333558146531644, 0.009618129107607065, 0.055504108664821236, 0.24022650695910097, 0.6931471805599453,
    ];

    /// <summary>e / (e + 2) with e = e^(2 x) - 1; beyond the bound tanh is ±1.</summary>
    public Node Tanh(Node x, Func<Node, Node, Node> product)
    {
        double bound = (isDouble ? 20 : 10) * 2 * Log2E;
        Node y = Bounded(product(x, Real(2 * Log2E)), bound), n = Add(y, Magic);
        Node scale = graph.Intern(Op.PowerOfTwo, ScoreKind.Real, 0, null, n);
        Node e = MultiplyAdd(Fraction(Subtract(y, Subtract(n, Magic))), scale, Subtract(scale, Real(1)));
        return graph.Intern(Op.Quotient, ScoreKind.Real, 0, null, e, Add(e, Real(2)));
    }

    /// <summary>The square of e^(x / 2), so that a result near the ends of the range needs no exponent beyond them.</summary>
    public Node Exp(Node x)
    {
        Node y = graph.Apply(Op.Multiply, Bounded(x, isDouble ? 760 : 110), Real(0.5)), shifted = MultiplyAdd(y, Real(Log2E), Magic), n = Subtract(shifted, Magic);
        Node scale = graph.Intern(Op.PowerOfTwo, ScoreKind.Real, 0, null, shifted);
        // y - n ln 2 in two parts, of which the first is exact.
        Node r = MultiplyAdd(n, Real(isDouble ? -0.6931471803691238 : -0.693359375), y);
        Node f = graph.Apply(Op.Multiply, MultiplyAdd(n, Real(isDouble ? -1.9082149292705877e-10 : 2.1219444005469058e-4), r), Real(Log2E));
        Node e = MultiplyAdd(Fraction(f), scale, scale);
        return graph.Apply(Op.Multiply, e, e);
    }

    public Node Sigmoid(Node x) => graph.Apply(Op.Divide, Real(1), Add(Exp(graph.Apply(Op.Negate, x)), Real(1)));

    /// <summary>Added to y it rounds it, and leaves the biased exponent of 2^n in the low bits.</summary>
    private Node Magic => Real(isDouble ? 6755399441055744d + 1023 : 12582912d + 127);

    /// <summary>f g(f) = 2^f - 1</summary>
    private Node Fraction(Node f)
    {
        double[] g = isDouble ? s_double : s_single;
        Node sum = Real(g[0]);
        foreach (double c in g.AsSpan(1))
            sum = MultiplyAdd(sum, f, Real(c));
        return graph.Apply(Op.Multiply, sum, f);
    }

    /// <summary>The bounds come first: of a NaN the second operand is handed on.</summary>
    private Node Bounded(Node x, double bound)
        => graph.Intern(Op.MinNative, ScoreKind.Real, 0, null, Real(bound), graph.Intern(Op.MaxNative, ScoreKind.Real, 0, null, Real(-bound), x));

    private Node Real(double x) => graph.Real(x);

    private Node Add(Node a, Node b) => graph.Apply(Op.Add, a, b);

    private Node Subtract(Node a, Node b) => graph.Apply(Op.Subtract, a, b);

    private Node MultiplyAdd(Node a, Node b, Node c) => graph.Intern(Op.MultiplyAdd, ScoreKind.Real, 0, null, a, b, c);
}
