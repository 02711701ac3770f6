using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cuda;

/// <summary>
/// A score program as CUDA C++, in the place of native/cuda/score_program.cuh: modify, gradient and visible of a pair (visible of a tile,
/// too), and where a value came from whose gradient is returned. The text depends on the structure alone: numbers and tensors come in
/// Captures, after the kernel's parameters.
/// </summary>
internal sealed class ScoreText
{
    /// <summary>The file whose place the text takes.</summary>
    public const string FileName = "score_program.cuh";

    /// <summary>A kernel takes 4 KiB of parameters, its own among them.</summary>
    public const int MaxCaptureBytes = 3584;

    private const int Word = 8, TensorBytes = (1 + ScoreTensor.MaxDimensions) * Word;

    private static readonly ConditionalWeakTable<ScoreProgram, ScoreText> s_texts = [];

    private readonly ScoreProgram _program;
    private readonly List<Node> _parameters;
    private readonly StringBuilder _text = new();

    private ScoreText(ScoreProgram program)
    {
        _program = program;
        var graph = new Graph();
        Node output = graph.Import(program.Output), visible = graph.Import(program.Visible), seed = graph.Leaf(Op.Gradient);
        List<Node> nodes = Graph.Order(output, visible);
        _parameters = [.. nodes.Where(n => n.Op == Op.Parameter)];
        Dictionary<Node, Node> adjoints = Derivative.Adjoints(graph, output, seed);
        Node slope = adjoints.GetValueOrDefault(graph.Leaf(Op.Score), graph.Real(0));
        Loads = [.. Graph.Order(output).Where(n => n.Op == Op.Load && n.Kind == ScoreKind.Real && adjoints.ContainsKey(n))];

        bool modifies = !program.OnlyHides, bends = slope != seed, hides = visible is not { Op: Op.Constant, Value: 1 };
        _text.Append("#pragma once\n#include \"score.cuh\"\n\nnamespace score {\n");
        _text.Append(CultureInfo.InvariantCulture, $"enum : bool {{ MODIFIES = {Literal(modifies)}, BENDS = {Literal(bends)}, HIDES = {Literal(hides)} }};\n");
        _text.Append("struct Captures {\n");
        for (int k = 0; k < program.Tensors.Count; k++)
            _text.Append(CultureInfo.InvariantCulture, $"  Tensor<{Memory(program.Tensors[k].Kind)}> t{k};\n");
        for (int k = 0; k < _parameters.Count; k++)
            _text.Append(CultureInfo.InvariantCulture, $"  alignas(8) {Type(_parameters[k].Kind)} p{k};\n");
        _text.Append("};\n");

        const string pair = "int b, int h, int i, int j", captures = "[[maybe_unused]] const Captures &c";
        Append($"DEVICE Real modify({captures}, Real s, {pair})", x => x[0], output);
        _text.Append(CultureInfo.InvariantCulture, $"struct Gradient {{ Real s{string.Concat(Loads.Select((_, k) => $", load{k}"))}; }};\n");
        Append($"DEVICE Gradient gradient({captures}, Real s, {pair}, Real ds)", x => $"{{{string.Join(", ", x)}}}", [slope, .. Loads.Select(n => adjoints[n])]);
        for (int k = 0; k < Loads.Count; k++)
        {
            string tensor = Tensor(Loads[k]);
            Append($"DEVICE i64 load{k}_at({captures}, {pair})", x => $"place({tensor}, {string.Join(", ", x)})", Loads[k].Arguments);
        }
        const string domain = "Domain::Int";
        Append($"template <class Domain> DEVICE typename Domain::Bool visible({captures}, typename {domain} b, typename {domain} h, typename {domain} i, typename {domain} j)",
            x => x[0], ["using Int = typename Domain::Int; using Real = typename Domain::Real; using Bool = typename Domain::Bool;"], visible);
        _text.Append("} // namespace score\n");
        Text = _text.ToString();
    }

    /// <summary>The text.</summary>
    public string Text { get; }

    /// <summary>The loads whose gradients `gradient` returns besides that of the score, in its order.</summary>
    public IReadOnlyList<Node> Loads { get; }

    /// <summary>Bytes of Captures; as in C++ an empty struct has some, too.</summary>
    public int CaptureBytes => Math.Max(Word, _program.Tensors.Count * TensorBytes + _parameters.Count * Word);

    /// <summary>The text of a program, made once; null where there is nothing to do.</summary>
    public static ScoreText? Of(ScoreProgram? program) =>
        program is null or { OnlyHides: true, Visible: { Op: Op.Constant, Value: 1 } } ? null : s_texts.GetValue(program, p => new ScoreText(p));

    /// <summary>Captures as it lies in memory.</summary>
    /// <param name="type">Element type of the problem.</param>
    /// <param name="tensors">The program's tensors.</param>
    public byte[] Captures(ElementType type, CapturedView[]? tensors)
    {
        tensors ??= [];
        if (tensors.Length != _program.Tensors.Count)
        {
            throw new ArgumentException($"The score program reads {_program.Tensors.Count} tensors, but {tensors.Length} are given.",
                nameof(ForwardArguments.ScoreTensors));
        }
        byte[] bytes = new byte[CaptureBytes];
        Span<long> words = MemoryMarshal.Cast<byte, long>(bytes.AsSpan());
        for (int k = 0; k < tensors.Length; k++)
        {
            CapturedView view = tensors[k];
            if (view.Data == 0 && _program.Tensors[k].Shape.All(size => size > 0))
                throw new ArgumentNullException(nameof(ForwardArguments.ScoreTensors), $"'{_program.Tensors[k].Name}' has elements, but its address is null.");
            long[] fields = [view.Data, view.Stride0, view.Stride1, view.Stride2, view.Stride3];
            fields.CopyTo(words[(k * fields.Length)..]);
        }
        for (int k = 0; k < _parameters.Count; k++)
        {
            Span<byte> at = bytes.AsSpan(tensors.Length * TensorBytes + k * Word);
            double value = _parameters[k].Value;
            if (_parameters[k].Kind != ScoreKind.Real)
                MemoryMarshal.Write(at, (int)value); // little endian: a truth value is its first byte
            else if (type == ElementType.Float64)
                MemoryMarshal.Write(at, value);
            else
                MemoryMarshal.Write(at, (float)value);
        }
        return bytes;
    }

    private static string Literal(bool value) => value ? "true" : "false";

    private static string Type(ScoreKind kind) => kind.ToString();

    private static string Memory(ScoreKind kind) => kind switch { ScoreKind.Real => "Real", ScoreKind.Int => "i64", _ => "u8" };

    private string Tensor(Node load) => $"c.t{_program.Tensors.Index().First(t => ReferenceEquals(t.Item, load.Tensor)).Index}";

    private void Append(string head, Func<string[], string> result, params ReadOnlySpan<Node> results) => Append(head, result, [], results);

    /// <summary>A function. What is used once is written where it is used, anything else gets a name.</summary>
    private void Append(string head, Func<string[], string> result, string[] first, params ReadOnlySpan<Node> results)
    {
        Node[] roots = results.ToArray();
        List<Node> order = Graph.Order(roots);
        Dictionary<Node, int> uses = order.SelectMany(n => n.Arguments).Concat(roots).CountBy(n => n).ToDictionary();
        var names = new Dictionary<Node, string>();
        _text.Append(head).Append(" {\n");
        foreach (string line in first)
            _text.Append("  ").Append(line).Append('\n');
        foreach (Node node in order)
        {
            string x = Expression(node, Array.ConvertAll(node.Arguments, a => names[a]));
            if (uses[node] > 1 && node.Arguments.Length > 0)
            {
                string name = string.Create(CultureInfo.InvariantCulture, $"x{names.Count}");
                _text.Append(CultureInfo.InvariantCulture, $"  const {Type(node.Kind)} {name} = {x};\n");
                x = name;
            }
            names[node] = x;
        }
        _text.Append("  return ").Append(result(Array.ConvertAll(roots, n => names[n]))).Append(";\n}\n");
    }

    private string Expression(Node node, string[] a) => node.Op switch
    {
        Op.Score => "s",
        Op.Gradient => "ds",
        Op.Batch => "b",
        Op.Head => "h",
        Op.Query => "i",
        Op.Key => "j",
        Op.Constant => $"{Type(node.Kind)}({Number(node)})",
        Op.Parameter => $"{Type(node.Kind)}(c.p{_parameters.IndexOf(node)})",
        Op.Load => $"load({Tensor(node)}, {string.Join(", ", a)})",
        Op.Add => $"({a[0]} + {a[1]})",
        Op.Subtract => $"({a[0]} - {a[1]})",
        Op.Multiply => $"({a[0]} * {a[1]})",
        Op.Divide => $"({a[0]} / {a[1]})",
        Op.Remainder => $"({a[0]} % {a[1]})",
        Op.Negate => $"(-{a[0]})",
        Op.Less => $"({a[0]} < {a[1]})",
        Op.LessOrEqual => $"({a[0]} <= {a[1]})",
        Op.Equal => $"({a[0]} == {a[1]})",
        Op.And => $"({a[0]} && {a[1]})",
        Op.Or => $"({a[0]} || {a[1]})",
        Op.Not => $"(!{a[0]})",
        Op.ToReal => $"to_real({a[0]})",
        Op.Min or Op.Max or Op.Abs or Op.Exp or Op.Log or Op.Tanh or Op.Sigmoid or Op.Sqrt or Op.Select =>
            $"{node.Op.ToString().ToLowerInvariant()}({string.Join(", ", a)})",
        _ => throw new NotSupportedException($"{node.Op} is no operation of a score program."),
    };

    private static string Number(Node node) => (node.Kind, node.Value) switch
    {
        (ScoreKind.Bool, var x) => Literal(x != 0),
        (_, double.PositiveInfinity) => "infinity()",
        (_, double.NegativeInfinity) => "-infinity()",
        (_, double.NaN) => "infinity() - infinity()",
        (_, var x) => x.ToString("R", CultureInfo.InvariantCulture),
    };
}
