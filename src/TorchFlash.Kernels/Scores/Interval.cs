namespace TorchFlash.Kernels.Scores;

/// <summary>
/// What a value can be over a tile: Lo to Hi; of a truth value whether it can be 0, 1 or both; both ends NaN: anything, NaN itself as well. Never
/// too narrow. Two numbers and no more, so that it stays in registers.
/// </summary>
internal readonly record struct Interval(double Lo, double Hi)
{
    /// <summary>Far above the error of any operation in float, the functions among them.</summary>
    private const double RelativeError = 1.0 / (1 << 20);

    /// <summary>What may be lost where float underflows.</summary>
    private const double AbsoluteError = 1e-37;

    public static Interval Anything => new(double.NaN, double.NaN);

    public static Interval Either => new(0, 1);

    public bool IsTrue => Lo == 1;

    public bool IsFalse => Hi == 0;

    public bool HasZero => !(Lo > 0 || Hi < 0);

    private bool IsFinite => double.IsFinite(Lo) && double.IsFinite(Hi);

    /// <summary>A constant in the compute type, which may be float.</summary>
    public static Interval Of(double value) => (float)value == value ? new(value, value) : Widen(value, value);

    /// <summary>An operation on everything that its arguments can be.</summary>
    public static Interval Apply(Op op, ScoreKind kind, Interval a, Interval b, Interval c) => op switch
    {
        Op.Add => Arithmetic(kind, a, b, new(a.Lo + b.Lo, a.Hi + b.Hi)),
        Op.Subtract => Arithmetic(kind, a, b, new(a.Lo - b.Hi, a.Hi - b.Lo)),
        Op.Multiply => Arithmetic(kind, a, b, Corners(a.Lo * b.Lo, a.Lo * b.Hi, a.Hi * b.Lo, a.Hi * b.Hi)),
        Op.Divide => Quotient(kind, a, b),
        Op.Remainder => Remainder(a, b),
        Op.Negate => new(-a.Hi, -a.Lo),
        Op.Abs => a.Lo >= 0 ? a : a.Hi <= 0 ? new(-a.Hi, -a.Lo) : a.Lo < 0 ? new(0, Math.Max(-a.Lo, a.Hi)) : Anything,
        Op.Min => new(Math.Min(a.Lo, b.Lo), Math.Min(a.Hi, b.Hi)),
        Op.Max => new(Math.Max(a.Lo, b.Lo), Math.Max(a.Hi, b.Hi)),
        Op.Less => Truth(a.Hi < b.Lo, a.Lo >= b.Hi),
        Op.LessOrEqual => Truth(a.Hi <= b.Lo, a.Lo > b.Hi),
        Op.Equal => Truth(a.Lo == a.Hi && b.Lo == b.Hi && a.Lo == b.Lo, a.Lo > b.Hi || b.Lo > a.Hi),
        Op.And => new(Math.Min(a.Lo, b.Lo), Math.Min(a.Hi, b.Hi)),
        Op.Or => new(Math.Max(a.Lo, b.Lo), Math.Max(a.Hi, b.Hi)),
        Op.Not => new(1 - a.Hi, 1 - a.Lo),
        Op.Select => a.IsTrue ? b : a.IsFalse ? c : new(Math.Min(b.Lo, c.Lo), Math.Max(b.Hi, c.Hi)),
        Op.ToReal => Widen(a.Lo, a.Hi),
        _ => Function(op, a),
    };

    /// <summary>Functions that grow with their argument.</summary>
    private static Interval Function(Op op, Interval a) => op switch
    {
        Op.Exp => Widen(Math.Exp(a.Lo), Math.Exp(a.Hi)),
        Op.Tanh => Widen(Math.Tanh(a.Lo), Math.Tanh(a.Hi)),
        Op.Sigmoid => Widen(1 / (1 + Math.Exp(-a.Lo)), 1 / (1 + Math.Exp(-a.Hi))),
        Op.Sqrt => Widen(Math.Sqrt(a.Lo), Math.Sqrt(a.Hi)), // the root or logarithm of what may be negative may be NaN
        Op.Log => Widen(Math.Log(a.Lo) - RelativeError, Math.Log(a.Hi) + RelativeError), // near 1 the error is an absolute one
        _ => throw new ArgumentOutOfRangeException(nameof(op), op, "Not an operation of a program."),
    };

    /// <summary>Integers are exact; of real numbers, infinities may make NaN.</summary>
    private static Interval Arithmetic(ScoreKind kind, Interval a, Interval b, Interval y) =>
        kind == ScoreKind.Int ? y : a.IsFinite && b.IsFinite ? Widen(y.Lo, y.Hi) : Anything;

    private static Interval Quotient(ScoreKind kind, Interval a, Interval b)
    {
        if (b.HasZero)
            return Anything;
        Interval y = Corners(a.Lo / b.Lo, a.Lo / b.Hi, a.Hi / b.Lo, a.Hi / b.Hi);
        return Arithmetic(kind, a, b, kind == ScoreKind.Int ? new(Math.Truncate(y.Lo), Math.Truncate(y.Hi)) : y);
    }

    /// <summary>Of integers.</summary>
    private static Interval Remainder(Interval a, Interval b)
    {
        if (b.HasZero)
            return Anything;
        double m = Math.Max(Math.Abs(b.Lo), Math.Abs(b.Hi));
        if (b.Lo == b.Hi && a.Lo >= 0 && Math.Floor(a.Lo / m) == Math.Floor(a.Hi / m))
            return new(a.Lo % m, a.Hi % m);
        return new(a.Lo >= 0 ? 0 : Math.Max(a.Lo, 1 - m), a.Hi <= 0 ? 0 : Math.Min(a.Hi, m - 1));
    }

    private static Interval Truth(bool always, bool never) => new(always ? 1 : 0, never ? 0 : 1);

    private static Interval Corners(double p, double q, double r, double s) => new(Math.Min(Math.Min(p, q), Math.Min(r, s)), Math.Max(Math.Max(p, q), Math.Max(r, s)));

    /// <summary>Room for what the compute type makes of a result: rounding, underflow, and overflow, of float at worst.</summary>
    private static Interval Widen(double lo, double hi)
    {
        if (double.IsNaN(lo) || double.IsNaN(hi))
            return Anything;
        lo -= double.IsInfinity(lo) ? 0 : Math.Abs(lo) * RelativeError + AbsoluteError;
        hi += double.IsInfinity(hi) ? 0 : Math.Abs(hi) * RelativeError + AbsoluteError;
        return new(lo < -float.MaxValue ? double.NegativeInfinity : Math.Min(lo, float.MaxValue), hi > float.MaxValue ? double.PositiveInfinity : Math.Max(hi, -float.MaxValue));
    }
}
