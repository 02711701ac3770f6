using TorchFlash.Kernels;
using TorchFlash.Kernels.Scores;
using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>
/// A score program by libtorch's operators, every node a tensor that broadcasts to [B, heads, Nq, Nk]: differentiable by libtorch, in the
/// captured tensors too.
/// </summary>
internal sealed class ScoreEvaluation
{
    private readonly Graph _graph = new();
    private readonly Dictionary<Node, Tensor> _values = [];
    private readonly Dictionary<ScoreTensor, Tensor> _tensors;
    private readonly ScoreProgram _program;
    private readonly Node _output, _visible;
    private readonly long[] _shape;
    private readonly ScalarType _type;
    private readonly Device _device;

    /// <param name="program">The program.</param>
    /// <param name="captured">Its tensors.</param>
    /// <param name="shape">[B, heads, Nq, Nk].</param>
    /// <param name="firstHead">The first of those heads.</param>
    /// <param name="type">What real numbers are computed in.</param>
    /// <param name="device">Where.</param>
    public ScoreEvaluation(ScoreProgram program, Tensor[] captured, long[] shape, long firstHead, ScalarType type, Device device)
    {
        (_program, _shape, _type, _device) = (program, shape, type, device);
        _output = _graph.Import(program.Output);
        _visible = _graph.Import(program.Visible);
        _tensors = program.Tensors.Zip(captured).ToDictionary(pair => pair.First, pair => pair.First.Kind == ScoreKind.Real ? pair.Second.to(type) : pair.Second);
        Op[] indices = [Op.Batch, Op.Head, Op.Query, Op.Key];
        for (int dim = 0; dim < 4; dim++)
        {
            long first = dim == 1 ? firstHead : 0;
            long[] along = [1, 1, 1, 1];
            along[dim] = shape[dim];
            _values[_graph.Leaf(indices[dim])] = arange(first, first + shape[dim], ScalarType.Int64, device).view(along);
        }
    }

    /// <summary>The modified score of a score.</summary>
    public Tensor Output(Tensor score)
    {
        _values[_graph.Leaf(Op.Score)] = score;
        return Value(_output);
    }

    /// <summary>True where a pair does not exist; null where all do.</summary>
    public Tensor? Hidden() => _visible is { Op: Op.Constant, Value: not 0 } ? null : Value(_visible).logical_not();

    /// <summary>
    /// From the gradient of the modified scores to those of the scores that <see cref="Output"/> was given and of the captured tensors, null
    /// where nothing depends on one of these.
    /// </summary>
    public (Tensor Score, Tensor?[] Captured) Gradients(Tensor gradient, Tensor? hidden)
    {
        if (_program.OnlyHides)
            return (gradient, new Tensor?[_program.Tensors.Count]);
        Node seed = _graph.Leaf(Op.Gradient);
        _values[seed] = gradient;
        Dictionary<Node, Node> adjoints = Derivative.Adjoints(_graph, _output, seed);
        Tensor?[] captured = [.. _program.Tensors.Select(tensor =>
        {
            Tensor[] parts = [.. adjoints.Keys.Where(node => node.Op == Op.Load && node.Tensor == tensor).Select(load => Scattered(load, Masked(adjoints[load])))];
            return parts.Length == 0 ? null : parts.Aggregate((a, b) => a + b);
        })];
        return (adjoints.TryGetValue(_graph.Leaf(Op.Score), out Node? score) ? Masked(score) : zeros_like(gradient), captured);

        // A pair that does not exist has a gradient of 0 whatever its derivative.
        Tensor Masked(Node node)
        {
            Tensor value = Value(node).expand(_shape);
            return hidden is null ? value : value.masked_fill(hidden, 0);
        }
    }

    /// <summary>The gradient of a captured tensor: that of every pair added to the element that the pair read.</summary>
    private Tensor Scattered(Node load, Tensor gradient)
    {
        Tensor tensor = _tensors[load.Tensor], position = zeros([1, 1, 1, 1], ScalarType.Int64, _device);
        long[] sizes = TensorMemory.Sizes(tensor);
        for (int k = 0; k < sizes.Length; k++)
            position = position * sizes[k] + Value(load.Arguments[k]);
        long[] shared = [.. Enumerable.Range(0, 4).Where(dim => position.size(dim) == 1).Select(dim => (long)dim)];
        if (shared.Length > 0)
            gradient = gradient.sum(shared, keepdim: true);
        return zeros([tensor.numel()], _type, _device).index_add(0, position.reshape(-1), gradient.reshape(-1), 1).view(sizes);
    }

    private Tensor Value(Node root)
    {
        foreach (Node node in Graph.Order(root))
        {
            if (!_values.ContainsKey(node))
                _values[node] = Apply(node, Array.ConvertAll(node.Arguments, x => _values[x]));
        }
        return _values[root];
    }

    private Tensor Apply(Node node, Tensor[] a) => node.Op switch
    {
        Op.Constant or Op.Parameter => node.Kind switch
        {
            ScoreKind.Real => tensor(node.Value, _type, _device),
            ScoreKind.Int => tensor((long)node.Value, ScalarType.Int64, _device),
            _ => tensor(node.Value != 0, ScalarType.Bool, _device),
        },
        Op.Load => _tensors[node.Tensor].index(a),
        Op.Add => a[0] + a[1],
        Op.Subtract => a[0] - a[1],
        Op.Multiply => a[0] * a[1],
        Op.Divide => a[0].div(a[1], node.Kind == ScoreKind.Int ? RoundingMode.trunc : RoundingMode.None),
        Op.Remainder => a[0] - a[0].div(a[1], RoundingMode.trunc) * a[1],
        Op.Negate => a[0].neg(),
        Op.Abs => a[0].abs(),
        Op.Min => a[0].minimum(a[1]),
        Op.Max => a[0].maximum(a[1]),
        Op.Exp => a[0].exp(),
        Op.Log => a[0].log(),
        Op.Tanh => a[0].tanh(),
        Op.Sigmoid => a[0].sigmoid(),
        Op.Sqrt => a[0].sqrt(),
        Op.ToReal => a[0].to(_type),
        Op.Less => a[0].lt(a[1]),
        Op.LessOrEqual => a[0].le(a[1]),
        Op.Equal => a[0].eq(a[1]),
        Op.And => a[0].logical_and(a[1]),
        Op.Or => a[0].logical_or(a[1]),
        Op.Not => a[0].logical_not(),
        Op.Select => where(a[0], a[1], a[2]),
        _ => throw new InvalidOperationException($"{node.Op} is not an operation of a program."),
    };
}
