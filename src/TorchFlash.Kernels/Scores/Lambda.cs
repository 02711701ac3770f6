using System.Globalization;
using System.Linq.Expressions;
using System.Reflection;
using System.Text.RegularExpressions;

namespace TorchFlash.Kernels.Scores;

/// <summary>
/// From expression trees to nodes. A part without a parameter of the lambda is evaluated at once: its number becomes a parameter of the program
/// (another value needs no other code); truth values and literals become constants.
/// </summary>
internal sealed class Lambda
{
    /// <summary>Operators, checked ones too: that integers do not overflow is shown before anything runs.</summary>
    private static readonly Dictionary<ExpressionType, (string Sign, Op Op)> Operators = new()
    {
        [ExpressionType.Add] = ("+", Op.Add),
        [ExpressionType.AddChecked] = ("+", Op.Add),
        [ExpressionType.Subtract] = ("-", Op.Subtract),
        [ExpressionType.SubtractChecked] = ("-", Op.Subtract),
        [ExpressionType.Multiply] = ("*", Op.Multiply),
        [ExpressionType.MultiplyChecked] = ("*", Op.Multiply),
        [ExpressionType.Divide] = ("/", Op.Divide),
        [ExpressionType.Modulo] = ("%", Op.Remainder),
        [ExpressionType.LessThan] = ("<", Op.Less),
        [ExpressionType.LessThanOrEqual] = ("<=", Op.LessOrEqual),
        [ExpressionType.GreaterThan] = (">", Op.Less),
        [ExpressionType.GreaterThanOrEqual] = (">=", Op.LessOrEqual),
        [ExpressionType.Equal] = ("==", Op.Equal),
        [ExpressionType.NotEqual] = ("!=", Op.Equal),
        [ExpressionType.ExclusiveOr] = ("^", Op.Equal),
        [ExpressionType.AndAlso] = ("&&", Op.And),
        [ExpressionType.And] = ("&", Op.And),
        [ExpressionType.OrElse] = ("||", Op.Or),
        [ExpressionType.Or] = ("|", Op.Or),
    };

    /// <summary>Functions of one argument, and of two.</summary>
    private static readonly Dictionary<(string Name, int Arguments), Op> Functions = new()
    {
        [("tanh", 1)] = Op.Tanh,
        [("exp", 1)] = Op.Exp,
        [("log", 1)] = Op.Log,
        [("sqrt", 1)] = Op.Sqrt,
        [("sigmoid", 1)] = Op.Sigmoid,
        [("abs", 1)] = Op.Abs,
        [("min", 2)] = Op.Min,
        [("max", 2)] = Op.Max,
    };

    private readonly Graph _graph = new();
    private readonly Dictionary<ParameterExpression, Node> _parameters = [];

    private Lambda(LambdaExpression lambda, params ReadOnlySpan<Op> leaves)
    {
        for (int k = 0; k < leaves.Length; k++)
            _parameters[lambda.Parameters[k]] = _graph.Leaf(leaves[k]);
    }

    public static ScoreProgram Translate(Expression<ScoreFunction> modification)
    {
        ArgumentNullException.ThrowIfNull(modification);
        var lambda = new Lambda(modification, Op.Score, Op.Batch, Op.Head, Op.Query, Op.Key);
        return new ScoreProgram(lambda.Visit(modification.Body), lambda._graph.Bool(true));
    }

    public static ScoreProgram Translate(Expression<PairFunction> condition)
    {
        ArgumentNullException.ThrowIfNull(condition);
        var lambda = new Lambda(condition, Op.Batch, Op.Head, Op.Query, Op.Key);
        return new ScoreProgram(lambda._graph.Leaf(Op.Score), lambda.Visit(condition.Body));
    }

    private Node Visit(Expression e) => IsClosed(e) && !IsWidening(e) ? Known(e) : e switch
    {
        ParameterExpression p => _parameters[p],
        BinaryExpression b => Binary(b),
        UnaryExpression { Method: null } u => Unary(u),
        ConditionalExpression c => Visit(c.Test) is var test && test.Op == Op.Constant ? Visit(test.Value != 0 ? c.IfTrue : c.IfFalse)
            : Apply(e, Op.Select, test, Visit(c.IfTrue), Visit(c.IfFalse)),
        MethodCallExpression { Method: { Name: "get_Item" or "Get", IsStatic: false } } c => Load(c),
        MethodCallExpression c => Call(c),
        _ => throw Refuse(e, "programs are of arithmetic, comparisons, conditions, functions and captured tensors"),
    };

    private Node Binary(BinaryExpression e)
    {
        if (e.NodeType == ExpressionType.ArrayIndex)
            throw Refuse(e, "arrays are not read; capture a tensor instead");
        if (e.Method is not null || !Operators.TryGetValue(e.NodeType, out var known))
            throw Refuse(e, $"operators are those of double, float, int and bool; this one is {e.NodeType} of {Text(e.Left.Type)}");
        Node a = Visit(e.Left);
        if (e.NodeType is ExpressionType.AndAlso or ExpressionType.OrElse && a.Op == Op.Constant && (a.Value != 0) == (e.NodeType == ExpressionType.OrElse))
            return a;
        Node b = Visit(e.Right);
        bool fits = known.Op switch
        {
            Op.And or Op.Or => a.Kind == ScoreKind.Bool,
            Op.Remainder => a.Kind == ScoreKind.Int,
            _ => e.NodeType != ExpressionType.ExclusiveOr || a.Kind == ScoreKind.Bool,
        };
        if (!fits)
            throw Refuse(e, $"there is no {known.Sign} of {(a.Kind == ScoreKind.Real ? "real numbers" : "integers")}");
        return e.NodeType switch
        {
            ExpressionType.GreaterThan or ExpressionType.GreaterThanOrEqual => Apply(e, known.Op, b, a),
            ExpressionType.Equal => Same(a, b),
            ExpressionType.NotEqual or ExpressionType.ExclusiveOr => Apply(e, Op.Not, Same(a, b)),
            _ => Apply(e, known.Op, a, b),
        };
    }

    private Node Same(Node a, Node b) => a.Kind != ScoreKind.Bool ? _graph.Apply(Op.Equal, a, b)
        : b.Op == Op.Constant ? b.Value != 0 ? a : _graph.Apply(Op.Not, a)
        : _graph.Apply(Op.Select, a, b, _graph.Apply(Op.Not, b));

    private Node Unary(UnaryExpression e) => e.NodeType switch
    {
        ExpressionType.Negate or ExpressionType.NegateChecked => Apply(e, Op.Negate, Visit(e.Operand)),
        ExpressionType.Not when e.Type == typeof(bool) => Apply(e, Op.Not, Visit(e.Operand)),
        _ when IsWidening(e) => IsReal(e.Operand.Type) ? Visit(e.Operand) : Apply(e, Op.ToReal, Visit(e.Operand)),
        ExpressionType.Convert or ExpressionType.ConvertChecked when e.Type == typeof(int) && IsReal(e.Operand.Type)
            => throw Refuse(e, "real numbers do not become integers; put the integers into a tensor, indexed by i - j or the like"),
        ExpressionType.Convert or ExpressionType.ConvertChecked
            => throw Refuse(e, $"its types are double, float, int and bool, not {Text(IsReal(e.Type) || e.Type == typeof(int) ? e.Operand.Type : e.Type)}"),
        _ => throw Refuse(e, $"there is no {e.NodeType} of {Text(e.Operand.Type)}"),
    };

    private Node Load(MethodCallExpression e)
    {
        if (!typeof(ScoreTensor).IsAssignableFrom(e.Object!.Type) || !IsClosed(e.Object))
            throw Refuse(e, "only captured tensors are indexed; capture one instead");
        var tensor = (ScoreTensor)(Evaluate(e.Object) ?? throw Refuse(e, $"{Text(e.Object)} is null"));
        if (e.Object is MemberExpression { Member: { } member })
            tensor.Name = member.Name;
        if (e.Arguments.Count != tensor.Shape.Count)
            throw Refuse(e, $"{tensor.Name} has {tensor.Shape.Count} dimensions, not {e.Arguments.Count}; one index for each");
        return _graph.Load(tensor, [.. e.Arguments.Select(Visit)]);
    }

    private Node Call(MethodCallExpression e)
    {
        MethodInfo method = e.Method;
        string name = method.Name.ToLowerInvariant();
        if (method.DeclaringType == typeof(Math) || method.DeclaringType == typeof(MathF) || method.IsDefined(typeof(ScoreFunctionAttribute)))
        {
            if (name == "clamp" && e.Arguments.Count == 3)
                return Apply(e, Op.Min, Apply(e, Op.Max, Visit(e.Arguments[0]), Visit(e.Arguments[1])), Visit(e.Arguments[2]));
            if (Functions.TryGetValue((name, e.Arguments.Count), out Op op))
                return Apply(e, op, [.. e.Arguments.Select(Visit)]);
        }
        throw Refuse(e, $"its functions are {string.Join(", ", Functions.Keys.Select(f => f.Name))} and clamp, of Math, MathF and TorchFlash");
    }

    private Node Apply(Expression e, Op op, params Node[] arguments)
    {
        try
        {
            return _graph.Apply(op, arguments);
        }
        catch (OverflowException)
        {
            throw Refuse(e, "it leaves the range of int");
        }
    }

    private Node Known(Expression e) => (e, Evaluate(e)) switch
    {
        (_, bool x) => _graph.Bool(x),
        (ConstantExpression, int x) => _graph.Int(x),
        (ConstantExpression, float or double) c => _graph.Real(Convert.ToDouble(c.Item2, CultureInfo.InvariantCulture)),
        (_, int x) => _graph.Parameter(ScoreKind.Int, x, Text(e)),
        (_, float x) => _graph.Parameter(ScoreKind.Real, x, Text(e)),
        (_, double x) => _graph.Parameter(ScoreKind.Real, x, Text(e)),
        var (_, x) => throw Refuse(e, $"it is {(x is null ? "null" : $"of type {Text(x.GetType())}")}; numbers are double, float and int, conditions bool"),
    };

    private static object? Evaluate(Expression e) => e switch
    {
        ConstantExpression c => c.Value,
        MemberExpression { Member: FieldInfo field, Expression: null } => field.GetValue(null),
        MemberExpression { Member: FieldInfo field, Expression: { } owner } => field.GetValue(Evaluate(owner) ?? throw Refuse(e, $"{Text(owner)} is null")),
        _ => Expression.Lambda<Func<object?>>(Expression.Convert(e, typeof(object))).Compile(preferInterpretation: true)(),
    };

    private static bool IsReal(Type type) => type == typeof(double) || type == typeof(float);

    /// <summary>To a real number, from one or from an integer: a conversion that changes nothing but the kind.</summary>
    private static bool IsWidening(Expression e) => e is UnaryExpression { NodeType: ExpressionType.Convert or ExpressionType.ConvertChecked, Method: null } u
        && IsReal(u.Type) && (IsReal(u.Operand.Type) || u.Operand.Type == typeof(int));

    private static bool IsClosed(Expression e)
    {
        var search = new ParameterSearch();
        search.Visit(e);
        return !search.Found;
    }

    private static NotSupportedException Refuse(Expression e, string why) => new($"'{Text(e)}' cannot be part of a score program: {why}.");

    /// <summary>As its author wrote it, more or less: without the classes that closures are.</summary>
    private static string Text(Expression? e) => e switch
    {
        BinaryExpression { NodeType: ExpressionType.ArrayIndex } b => $"{Text(b.Left)}[{Text(b.Right)}]",
        BinaryExpression b when Operators.TryGetValue(b.NodeType, out var known) => $"({Text(b.Left)} {known.Sign} {Text(b.Right)})",
        UnaryExpression { NodeType: ExpressionType.Negate or ExpressionType.NegateChecked } u => $"-{Text(u.Operand)}",
        UnaryExpression { NodeType: ExpressionType.Not } u => $"!{Text(u.Operand)}",
        UnaryExpression { NodeType: ExpressionType.Convert or ExpressionType.ConvertChecked } u => IsReal(u.Type) ? Text(u.Operand) : $"({Text(u.Type)}){Text(u.Operand)}",
        UnaryExpression { NodeType: ExpressionType.ArrayLength } u => $"{Text(u.Operand)}.Length",
        ConditionalExpression c => $"({Text(c.Test)} ? {Text(c.IfTrue)} : {Text(c.IfFalse)})",
        MemberExpression m when IsClosure(m) => "this",
        MemberExpression { Expression: { } owner } m when IsClosure(owner) => m.Member.Name,
        MemberExpression m => $"{(m.Expression is null ? m.Member.DeclaringType!.Name : Text(m.Expression))}.{m.Member.Name}",
        MethodCallExpression { Method.Name: "get_Item" or "Get", Object: { } o } c => $"{Text(o)}[{List(c.Arguments)}]",
        MethodCallExpression c => $"{(c.Object is null ? c.Method.DeclaringType!.Name : Text(c.Object))}.{c.Method.Name}({List(c.Arguments)})",
        ConstantExpression { Value: string x } => $"\"{x}\"",
        ConstantExpression { Value: null } => "null",
        ConstantExpression { Value: IConvertible x } => x.ToString(CultureInfo.InvariantCulture),
        ConstantExpression => "this",
        _ => Regex.Replace($"{e}", @"(value\([^)]*\)|[\w$]*<>\w+)\.", ""),
    };

    /// <summary>What the compiler made to hold captured variables, or the object whose method the lambda is in.</summary>
    private static bool IsClosure(Expression e) => e is ConstantExpression || e is MemberExpression { Member.Name: var name } && name.Contains('<');

    private static string Text(Type type) => Type.GetTypeCode(type) switch
    {
        TypeCode.Int32 => "int",
        TypeCode.Int64 => "long",
        TypeCode.Decimal => "decimal",
        TypeCode.String => "string",
        _ => type.Name,
    };

    private static string List(IEnumerable<Expression> arguments) => string.Join(", ", arguments.Select(Text));

    private sealed class ParameterSearch : ExpressionVisitor
    {
        public bool Found { get; private set; }

        protected override Expression VisitParameter(ParameterExpression node)
        {
            Found = true;
            return node;
        }

        // An element at constant indices is known to the call only.
        protected override Expression VisitMethodCall(MethodCallExpression node)
        {
            Found |= node.Object is { } tensor && typeof(ScoreTensor).IsAssignableFrom(tensor.Type);
            return base.VisitMethodCall(node);
        }
    }
}
