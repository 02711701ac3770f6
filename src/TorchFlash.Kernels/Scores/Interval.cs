namespace TorchFlash.Kernels.Scores;

/// <summary>What a value can be over a tile: Lo to Hi, perhaps NaN; of a truth value whether it can be 0, 1 or both. Never too narrow.</summary>
internal readonly record struct Interval(double Lo, double Hi, bool NaN = false)
{
    /// <summary>Far above the error of any operation in float, the functions among them.</summary>
    private const double RelativeError = 1.0 / (1 << 20);

    /// <summary>What may be lost where float underflows.</summary>
    private const double AbsoluteError = 1e-37;

    public static readonly Interval Anything = new(double.NegativeInfinity, double.PositiveInfinity, true);

    public static readonly Interval Either = new(0, 1);

    public bool IsTrue => Lo == 1;

    public bool IsFalse => Hi == 0;

    public bool HasZero => Lo <= 0 && Hi >= 0;

    private bool HasInfinity => double.IsInfinity(Lo) || double.IsInfinity(Hi);

    /// <summary>A constant in the compute type, which may be float.</summary>
    public static Interval Of(double value) => double.IsNaN(value) ? Anything : (float)value == value ? new(value, value) : Widen(new(value, value));

    public static Interval Hull(in Interval a, in Interval b) => new(Math.Min(a.Lo, b.Lo), Math.Max(a.Hi, b.Hi), a.NaN | b.NaN);

    /// <summary>An operation on everything that its arguments can be.</summary>
    public static Interval Apply(Op op, ScoreKind kind, in Interval a, in Interval b, in Interval c) => op switch
    {
        Op.Add => Arithmetic(kind, new(a.Lo + b.Lo, a.Hi + b.Hi), a, b),
        Op.Subtract => Arithmetic(kind, new(a.Lo - b.Hi, a.Hi - b.Lo), a, b),
        Op.Multiply => Arithmetic(kind, Corners(a.Lo * b.Lo, a.Lo * b.Hi, a.Hi * b.Lo, a.Hi * b.Hi), a, b),
        Op.Divide or Op.Remainder when b.HasZero => Anything,
        Op.Divide when kind == ScoreKind.Int =>
            Corners(Math.Truncate(a.Lo / b.Lo), Math.Truncate(a.Lo / b.Hi), Math.Truncate(a.Hi / b.Lo), Math.Truncate(a.Hi / b.Hi)),
        Op.Divide => Arithmetic(kind, Corners(a.Lo / b.Lo, a.Lo / b.Hi, a.Hi / b.Lo, a.Hi / b.Hi), a, b),
        Op.Remainder => Remainder(a, b),
        Op.Negate => new(-a.Hi, -a.Lo, a.NaN),
        Op.Abs => new(a.Lo > 0 ? a.Lo : a.Hi < 0 ? -a.Hi : 0, Math.Max(-a.Lo, a.Hi), a.NaN),
        Op.Min => new(Math.Min(a.Lo, b.Lo), Math.Min(a.Hi, b.Hi), a.NaN | b.NaN),
        Op.Max => new(Math.Max(a.Lo, b.Lo), Math.Max(a.Hi, b.Hi), a.NaN | b.NaN),
        Op.Exp => Widen(new(Math.Exp(a.Lo), Math.Exp(a.Hi), a.NaN)),
        Op.Tanh => Widen(new(Math.Tanh(a.Lo), Math.Tanh(a.Hi), a.NaN)),
        Op.Sigmoid => Widen(new(1 / (1 + Math.Exp(-a.Lo)), 1 / (1 + Math.Exp(-a.Hi)), a.NaN)),
        Op.Log => Logarithm(a),
        Op.Sqrt => Widen(new(Math.Sqrt(Math.Max(a.Lo, 0)), Math.Sqrt(Math.Max(a.Hi, 0)), a.NaN | a.Lo < 0)),
        Op.ToReal => Widen(a),
        Op.Less => Truth(a.Hi < b.Lo, a.Lo < b.Hi, a, b),
        Op.LessOrEqual => Truth(a.Hi <= b.Lo, a.Lo <= b.Hi, a, b),
        Op.Equal => Truth(a.Lo == a.Hi && b.Lo == b.Hi && a.Lo == b.Lo, a.Lo <= b.Hi && b.Lo <= a.Hi, a, b),
        Op.And => new(Math.Min(a.Lo, b.Lo), Math.Min(a.Hi, b.Hi)),
        Op.Or => new(Math.Max(a.Lo, b.Lo), Math.Max(a.Hi, b.Hi)),
        Op.Not => new(1 - a.Hi, 1 - a.Lo),
        Op.Select => a.IsTrue ? b : a.IsFalse ? c : Hull(b, c),
        _ => throw new ArgumentOutOfRangeException(nameof(op), op, "Not an operation of a program."),
    };

    /// <summary>Integers are exact; of real numbers, infinities may make NaN.</summary>
    private static Interval Arithmetic(ScoreKind kind, in Interval y, in Interval a, in Interval b) =>
        kind == ScoreKind.Int ? y : Widen(new(y.Lo, y.Hi, a.NaN | b.NaN | a.HasInfinity | b.HasInfinity));

    /// <summary>Near 1 an error of the argument is all that is left: an absolute one.</summary>
    private static Interval Logarithm(in Interval a)
    {
        Interval y = Widen(new(Math.Log(Math.Max(a.Lo, 0)), Math.Log(Math.Max(a.Hi, 0)), a.NaN | a.Lo < 0));
        return new(y.Lo - RelativeError, y.Hi + RelativeError, y.NaN);
    }

    /// <summary>Room for what the compute type makes of a result: rounding, underflow, and overflow, of float at worst.</summary>
    private static Interval Widen(in Interval y)
    {
        if (double.IsNaN(y.Lo) || double.IsNaN(y.Hi))
            return Anything;
        double lo = y.Lo - (double.IsInfinity(y.Lo) ? 0 : Math.Abs(y.Lo) * RelativeError + AbsoluteError);
        double hi = y.Hi + (double.IsInfinity(y.Hi) ? 0 : Math.Abs(y.Hi) * RelativeError + AbsoluteError);
        return new(lo < -float.MaxValue ? double.NegativeInfinity : Math.Min(lo, float.MaxValue), hi > float.MaxValue ? double.PositiveInfinity : Math.Max(hi, -float.MaxValue), y.NaN);
    }

    private static Interval Truth(bool always, bool possible, in Interval a, in Interval b) => new(always && !a.NaN && !b.NaN ? 1 : 0, possible ? 1 : 0);

    /// <summary>The smallest and the largest of four; 0 times infinity, NaN, is handed on.</summary>
    private static Interval Corners(double p, double q, double r, double s) => new(Math.Min(Math.Min(p, q), Math.Min(r, s)), Math.Max(Math.Max(p, q), Math.Max(r, s)));

    /// <summary>Of integers; the divisor is not 0.</summary>
    private static Interval Remainder(in Interval a, in Interval b)
    {
        double m = Math.Max(Math.Abs(b.Lo), Math.Abs(b.Hi));
        if (b.Lo == b.Hi && a.Lo >= 0 && Math.Floor(a.Lo / m) == Math.Floor(a.Hi / m))
            return new(a.Lo % m, a.Hi % m);
        return new(a.Lo >= 0 ? 0 : Math.Max(a.Lo, 1 - m), a.Hi <= 0 ? 0 : Math.Min(a.Hi, m - 1));
    }
}
