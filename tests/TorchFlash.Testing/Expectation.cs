namespace TorchFlash.Testing;

/// <summary>One result against the truth.</summary>
/// <param name="Name">As in "dQ".</param>
/// <param name="Error">Largest |x - truth|.</param>
/// <param name="Bar">What it may be.</param>
/// <param name="Complaint">Which element is too far off, and how far; null for none.</param>
internal sealed record Comparison(string Name, double Error, double Bar, string? Complaint)
{
    public bool Passed => Complaint is null;
}

/// <summary>
/// What the passes have to write, and how far from it they may be.
/// float64: 1e-12 of the largest element. Other types, the bar of FlashAttention's own tests:
/// max|x - ref| &lt;= 2 max|naive - ref| + 2 max|ref + 0.3 - 0.3 - ref|, where naive is the same in the type itself, and what a few roundings of
/// the scores make is added: unavoidable, yet small problems are sometimes spared them by luck (a row of one key has dS = 0 exactly when delta
/// happens to be summed in the order of dP). 16-bit types besides, element by element, the bound of <see cref="RoundingBound"/>.
/// </summary>
internal sealed class Expectation
{
    /// <summary>Kernels for 16-bit types may keep an older m while the maximum has risen by less than a factor of 2^8 of P.</summary>
    private static readonly double LazyMaximum = 8 * Math.Log(2);

    private readonly AttentionProblem _problem;
    private readonly ElementType _type, _computeType;
    private readonly double[] _query, _key, _value, _outputGradient;
    private readonly ScoreInputs? _scores;
    private readonly Reference<double> _reference;
    private readonly Reference<float>? _single, _naive;
    private readonly RoundingBound? _bound;
    private readonly double _score, _row, _column, _tensor;

    /// <param name="problem">The problem.</param>
    /// <param name="query">Q, dense.</param>
    /// <param name="key">K, dense, with its own number of heads.</param>
    /// <param name="value">V, dense, with its own number of heads.</param>
    /// <param name="outputGradient">dO, dense.</param>
    /// <param name="scores">What the problem's program, sinks and dropout need.</param>
    /// <param name="scoreRoundings">How much less exact than float32 sums of products are: 1, and 2 for tensor cores, which cut digits off.</param>
    public Expectation(AttentionProblem problem, double[] query, double[] key, double[] value, double[] outputGradient, double scoreRoundings = 1,
        ScoreInputs? scores = null)
    {
        (_problem, _query, _key, _value, _outputGradient, _scores) = (problem, query, key, value, outputGradient, scores);
        _type = problem.ElementType;
        _computeType = _type == ElementType.Float64 ? _type : ElementType.Float32;
        if (_type.IsHalfWidth())
            (_reference, _bound) = RoundingBound.Compute(problem, query, key, value, outputGradient, scores);
        else
            _reference = Reference<double>.Compute(problem, query, key, value, outputGradient, scores: scores);
        if (_type != ElementType.Float64)
        {
            float[] q = Single(query), k = Single(key), v = Single(value), dO = Single(outputGradient);
            _single = Reference<float>.Compute(problem, q, k, v, _bound is null ? dO : null, scores: scores);
            _naive = _bound is null ? _single : Reference<float>.Compute(problem, q, k, v, dO, rounding: _type, scores: scores);
        }
        _score = scoreRoundings * _computeType.UnitRoundoff() * Math.Max(12, _reference.LargestScore);
        // delta comes from O as it is stored, which the naive way does without.
        double cancellation = _score + (_bound is null ? 0 : _type.UnitRoundoff());
        _row = cancellation * _reference.LargestRowCancellation;
        _column = Math.Max(_row, cancellation * _reference.LargestColumnCancellation);
        _tensor = cancellation * _reference.LargestTensorCancellation;
    }

    /// <summary>What m is multiplied by to be the largest score.</summary>
    private double MaxScale => _problem.Score is { OnlyHides: false } ? 1 : Math.Abs(_problem.Scale);

    /// <summary>O, m and l.</summary>
    public (double[] Output, double[] Max, double[] Sum) ForwardResults()
    {
        // m is a maximum of sign(scale) q·k; scale m = max_j S_ij.
        double scale = MaxScale;
        double[] max = scale == 0 ? LargestProducts() : Array.ConvertAll(_reference.Max, s => s / scale);
        double[] sum = [.. _reference.Max.Zip(_reference.LogSumExp, (m, lse) => double.IsNegativeInfinity(m) ? 0 : Math.Exp(lse - m))];
        return (_reference.Output, max, sum);
    }

    public IEnumerable<Comparison> Forward(double[] output, double[] max, double[] sum)
    {
        yield return Compare("O", output, _reference.Output, _naive?.Output, _score * Rms(_value), _bound?.Output);
        for (int i = 0; i < sum.Length; i++)
            if (double.IsNegativeInfinity(_reference.Max[i]) != (double.IsNegativeInfinity(max[i]) && sum[i] == 0))
                yield return new Comparison("m, l", double.NaN, 0, $"row {i} has m = {max[i]}, l = {sum[i]}, its largest score is {_reference.Max[i]}");
        double scale = MaxScale;
        double[] scaled = Array.ConvertAll(max, m => double.IsNegativeInfinity(m) ? m : scale * m);
        double[] logSumExp = [.. scaled.Zip(sum, (m, l) => m + Math.Log(l))];
        yield return Compare("|scale| m + ln l", logSumExp, _reference.LogSumExp, _single?.LogSumExp, 4 * _score, type: _computeType);
        yield return Compare("|scale| m", scaled, _reference.Max, _single?.Max, 4 * _score + (_bound is null ? 0 : LazyMaximum), type: _computeType);
    }

    /// <param name="queryGradient">dQ.</param>
    /// <param name="keyGradient">dK.</param>
    /// <param name="valueGradient">dV.</param>
    /// <param name="scores">The gradients of captured tensors and sinks.</param>
    public IEnumerable<Comparison> Backward(double[] queryGradient, double[] keyGradient, double[] valueGradient, ScoreOperands? scores = null) =>
    [
        Compare("dQ", queryGradient, _reference.QueryGradient, _naive?.QueryGradient, _row * Rms(_key), _bound?.QueryGradient),
        Compare("dK", keyGradient, _reference.KeyGradient, _naive?.KeyGradient, _column * Rms(_query), _bound?.KeyGradient),
        Compare("dV", valueGradient, _reference.ValueGradient, _naive?.ValueGradient, _score * Rms(_outputGradient), _bound?.ValueGradient),
        .. (scores?.TensorGradients ?? []).Select(x =>
            Compare($"d{x.Key.Name}", x.Value, _reference.TensorGradients[x.Key], _naive?.TensorGradients[x.Key], _tensor, type: _computeType)),
        .. scores is null || !_problem.HasSinks ? []
            : new[] { Compare("dsinks", scores.SinkGradient.ToArray(), _reference.SinkGradient, _naive?.SinkGradient, _tensor, type: _computeType) },
    ];

    public Comparison Weights(double[] weights)
    {
        double[] reference = _scores is { WithHeadWeights: true } ? _reference.HeadWeights : _reference.AverageWeights;
        float[] naive = Array.ConvertAll(reference, w => (float)_type.Round(w));
        double[]? bound = _bound is null ? null : Array.ConvertAll(reference, w => 1.02 * _type.UnitRoundoff() * w + _type.Underflow() + 8 * _score);
        return Compare("weights", weights, reference, naive, 8 * _score, bound);
    }

    /// <summary>Ends a test where a comparison did not pass.</summary>
    /// <exception cref="MismatchException">It did not.</exception>
    public static void Assert(string name, IEnumerable<Comparison> comparisons)
    {
        foreach (Comparison comparison in comparisons)
            if (!comparison.Passed)
                throw new MismatchException($"{comparison.Name} of {name}: {comparison.Complaint}.");
    }

    /// <summary>The bar of a result, and where it stands.</summary>
    public static Comparison Compare<T>(string name, double[] actual, double[] reference, T[]? naive, double unavoidable, ElementType type)
        where T : unmanaged, System.Numerics.IBinaryFloatingPointIeee754<T>
    {
        if (actual.Length != reference.Length)
            return new Comparison(name, double.NaN, 0, $"it has {actual.Length} elements instead of {reference.Length}");
        double bar = type == ElementType.Float64
            ? 1e-12 * reference.Where(double.IsFinite).Select(Math.Abs).DefaultIfEmpty().Max() + 2 * unavoidable
            : 2 * LargestError(Array.ConvertAll(naive!, double.CreateTruncating), reference).Error + 2 * LargestRounding(type, reference) + unavoidable;
        (double error, int at) = LargestError(actual, reference);
        return new Comparison(name, error, bar, error <= bar ? null // NaN is not
            : $"element {at} is {actual[at]:R} instead of {reference[at]:R}, off by {error:G3}, allowed {bar:G3}");
    }

    private Comparison Compare(string name, double[] actual, double[] reference, float[]? naive, double unavoidable, double[]? bound = null, ElementType? type = null)
    {
        Comparison result = Compare(name, actual, reference, naive, unavoidable, type ?? _type);
        for (int i = 0; result.Passed && i < bound?.Length; i++)
            if (!(Math.Abs(actual[i] - reference[i]) <= bound[i]))
            {
                return result with
                {
                    Complaint = $"element {i} is {actual[i]:R} instead of {reference[i]:R}, off by {Math.Abs(actual[i] - reference[i]):G3}, its roundings allow {bound[i]:G3}",
                };
            }
        return result;
    }

    private static float[] Single(double[] values) => Array.ConvertAll(values, v => (float)v);

    /// <summary>max_j sign(scale) q_i·k_j where the scale is 0.</summary>
    private double[] LargestProducts()
    {
        AttentionProblem unscaled = _problem with { Scale = 1 };
        return Reference<double>.Compute(unscaled, _query, _key, _value, scores: _scores).Max;
    }

    private static double Rms(double[] values) => Math.Sqrt(values.Where(double.IsFinite).Select(x => x * x).DefaultIfEmpty().Average());

    private static (double Error, int At) LargestError(double[] actual, double[] reference)
    {
        (double Error, int At) worst = (0, 0);
        for (int i = 0; i < reference.Length; i++)
        {
            double error = actual[i].Equals(reference[i]) ? 0 : Math.Abs(actual[i] - reference[i]); // equal infinities
            if (!(error <= worst.Error))
                worst = (error, i);
            if (double.IsNaN(error))
                break;
        }
        return worst;
    }

    private static double LargestRounding(ElementType type, double[] reference)
    {
        double largest = 0;
        foreach (double value in reference.Where(double.IsFinite))
            largest = Math.Max(largest, Math.Abs(type.Round(type.Round(type.Round(value) + type.Round(0.3)) - type.Round(0.3)) - value));
        return largest;
    }
}
