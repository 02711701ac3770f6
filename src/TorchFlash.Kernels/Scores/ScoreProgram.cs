using System.Linq.Expressions;

namespace TorchFlash.Kernels.Scores;

/// <summary>What becomes of the score s (already scaled) of query i and key j in query head h of batch entry b.</summary>
public delegate double ScoreFunction(double s, int b, int h, int i, int j);

/// <summary>Whether query i of query head h of batch entry b may attend to key j.</summary>
public delegate bool PairFunction(int b, int h, int i, int j);

/// <summary>
/// What is done to the scores, and which of them exist: immutable. Modifications apply one after the other; a pair exists where every
/// condition holds.
/// </summary>
public sealed class ScoreProgram
{
    private readonly Lazy<bool> _isAdditive;

    /// <summary>A program of nodes of any graph.</summary>
    internal ScoreProgram(Node output, Node visible)
    {
        var graph = new Graph();
        Output = graph.Import(output);
        Visible = graph.Import(visible);
        _isAdditive = new(() =>
        {
            Node gradient = graph.Leaf(Op.Gradient);
            return Derivative.Adjoints(graph, Output, gradient).GetValueOrDefault(graph.Leaf(Op.Score)) == gradient;
        });
        Tensors = [.. Graph.Order(Output, Visible).Where(node => node.Op == Op.Load).Select(node => node.Tensor).Distinct()];
    }

    /// <summary>Leaves scores as they are, and all pairs.</summary>
    public static ScoreProgram Identity { get; } = Build(_ => null, _ => null);

    /// <summary>The tensors that the program reads, in the order in which a call hands them over.</summary>
    public IReadOnlyList<ScoreTensor> Tensors { get; }

    /// <summary>The modified score.</summary>
    internal Node Output { get; }

    /// <summary>Whether a pair exists.</summary>
    internal Node Visible { get; }

    /// <summary>Whether the score is what it was: pairs may be hidden, nothing else.</summary>
    internal bool OnlyHides => Output.Op == Op.Score;

    /// <summary>Whether the modified score is s plus what does not depend on s: its derivative says so.</summary>
    internal bool IsAdditive => _isAdditive.Value;

    /// <summary>A program of nodes that the functions make in a graph; null: the score as it is, every pair.</summary>
    internal static ScoreProgram Build(Func<Graph, Node?> output, Func<Graph, Node?> visible)
    {
        var graph = new Graph();
        return new ScoreProgram(output(graph) ?? graph.Leaf(Op.Score), visible(graph) ?? graph.Bool(true));
    }

    /// <summary>
    /// The program with one more modification, which gets the score that this one leaves. It is differentiated with respect to s and to captured
    /// tensors; a comparison has no derivative: what a condition on s chooses gets its own, the place where the choice changes none.
    /// </summary>
    /// <param name="modification">A lambda of arithmetic, functions of <see cref="Math"/>, conditions and captured tensors.</param>
    /// <exception cref="NotSupportedException">The lambda has a part that no score program can have; the message shows it.</exception>
    public ScoreProgram Then(Expression<ScoreFunction> modification) => Then(Lambda.Translate(modification));

    /// <summary>The program for fewer pairs.</summary>
    /// <param name="condition">True where a pair may exist.</param>
    /// <exception cref="NotSupportedException">The lambda has a part that no score program can have; the message shows it.</exception>
    public ScoreProgram Where(Expression<PairFunction> condition) => Then(Lambda.Translate(condition));

    /// <summary>This program, and another one after it.</summary>
    public ScoreProgram Then(ScoreProgram next)
    {
        ArgumentNullException.ThrowIfNull(next);
        var graph = new Graph();
        Node score = graph.Import(Output);
        Node output = graph.Rewrite(next.Output, (node, _) => node.Op == Op.Score ? score : null);
        return new ScoreProgram(output, graph.Apply(Op.And, graph.Import(Visible), graph.Import(next.Visible)));
    }
}
