using TorchFlash.Kernels.Scores;

namespace TorchFlash.Testing;

/// <summary>What the reference needs beside Q, K, V and dO where scores are modified, hidden or dropped.</summary>
internal sealed record ScoreInputs
{
    /// <summary>An element of a captured tensor.</summary>
    public Func<ScoreTensor, int[], double> Load { get; init; } = (tensor, _) => throw new InvalidOperationException($"Nobody knows {tensor.Name}.");

    /// <summary>The score of every head's sink.</summary>
    public double[]? Sinks { get; init; }

    /// <summary>Whether dropout keeps the weight of batch entry b, query head h, query i and key j.</summary>
    public Func<int, int, int, int, bool>? Keep { get; init; }

    /// <summary>The gradient of the rows' log-sum-exp, [B, H, Nq].</summary>
    public double[]? LogSumExpGradient { get; init; }

    /// <summary>Whether the weights of every head are wanted.</summary>
    public bool WithHeadWeights { get; init; }
}

/// <summary>A program and its derivatives, pair after pair: <see cref="Meaning"/>, with every real number rounded by a function.</summary>
internal sealed class PairProgram
{
    private readonly (Node Node, int[] Arguments)[] _steps;
    private readonly double[] _values;
    private readonly int _output, _visible, _derivative;
    private readonly (ScoreTensor Tensor, int[] Index, int Derivative)[] _loads;
    private readonly ScoreInputs _inputs;
    private readonly Func<double, double> _round;

    public PairProgram(ScoreProgram program, ScoreInputs inputs, Func<double, double> round)
    {
        (_inputs, _round) = (inputs, round);
        var graph = new Graph();
        Node output = graph.Import(program.Output), visible = graph.Import(program.Visible);
        Dictionary<Node, Node> adjoints = Derivative.Adjoints(graph, output, graph.Real(1));
        Node derivative = adjoints.GetValueOrDefault(graph.Leaf(Op.Score), graph.Real(0));
        List<(Node Load, Node Derivative)> loads = [.. adjoints.Where(x => x.Key.Op == Op.Load).Select(x => (x.Key, x.Value))];
        List<Node> nodes = Graph.Order([output, visible, derivative, .. loads.Select(x => x.Load), .. loads.Select(x => x.Derivative)]);
        var number = nodes.Index().ToDictionary(x => x.Item, x => x.Index);
        _steps = [.. nodes.Select(node => (node, Array.ConvertAll(node.Arguments, x => number[x])))];
        _values = new double[_steps.Length];
        (_output, _visible, _derivative) = (number[output], number[visible], number[derivative]);
        _loads = [.. loads.Select(x => (x.Load.Tensor, Array.ConvertAll(x.Load.Arguments, a => number[a]), number[x.Derivative]))];
    }

    public bool IsVisible => _values[_visible] != 0;

    /// <summary>The modified score.</summary>
    public double Modified => _values[_output];

    /// <summary>d(modified score)/ds.</summary>
    public double ScoreDerivative => _values[_derivative];

    /// <summary>d(modified score)/d(an element) of every element of a captured tensor that it depends on.</summary>
    public IEnumerable<(ScoreTensor Tensor, int Element, double Derivative)> TensorDerivatives =>
        _loads.Select(load => (load.Tensor, Captured.Number(load.Tensor, Array.ConvertAll(load.Index, x => (int)_values[x])), _values[load.Derivative]));

    /// <summary>Takes the next pair.</summary>
    public void Evaluate(double s, int b, int h, int i, int j)
    {
        double[] values = _values;
        for (int k = 0; k < _steps.Length; k++)
        {
            (Node node, int[] a) = _steps[k];
            double value = node.Op switch
            {
                Op.Score => s,
                Op.Batch => b,
                Op.Head => h,
                Op.Query => i,
                Op.Key => j,
                Op.Constant or Op.Parameter => node.Value,
                Op.Load => _inputs.Load(node.Tensor, Array.ConvertAll(a, x => (int)values[x])),
                _ => Meaning.Of(node.Op, node.Arguments[0].Kind, values[a[0]], a.Length > 1 ? values[a[1]] : 0, a.Length > 2 ? values[a[2]] : 0),
            };
            values[k] = node.Kind == ScoreKind.Real ? _round(value) : value;
        }
    }
}
