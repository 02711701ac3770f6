using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Cuda.Tests;

/// <summary>
/// What the passes have to write, and how far from it they may be.
/// float64: 1e-12 of the largest element. Other types, the bar of FlashAttention's own tests:
/// max|x - ref| &lt;= 2 max|naive - ref| + 2 max|ref + 0.3 - 0.3 - ref|, where naive is the same in the type itself, and what a few roundings of
/// the scores make is added, because small problems are sometimes spared them by luck. 16-bit types besides, element by element, the bound
/// of <see cref="HalfWidthReference"/>.
/// </summary>
internal sealed class GpuExpectation
{
    private readonly AttentionProblem _given, _problem;
    private readonly ElementType _type;
    private readonly double[] _query, _key;
    private readonly Reference<double> _reference;
    private readonly Reference<float>? _single;
    private readonly HalfWidthReference? _half;
    private readonly double _score, _row, _column;
    private readonly double _rmsQuery, _rmsKey, _rmsValue, _rmsOutputGradient;

    /// <param name="problem">The problem.</param>
    /// <param name="query">Q, dense.</param>
    /// <param name="key">K, dense, with its own number of heads.</param>
    /// <param name="value">V, dense, with its own number of heads.</param>
    /// <param name="outputGradient">dO, dense.</param>
    public GpuExpectation(AttentionProblem problem, double[] query, double[] key, double[] value, double[] outputGradient)
    {
        _given = problem;
        _problem = problem with { KeyHeads = 0 };
        _type = problem.ElementType;
        (_query, _key) = (query, PerQueryHead(key, problem.HeadDim));
        double[] perHeadValue = PerQueryHead(value, problem.ValueDim);
        _reference = Reference<double>.Compute(_problem, query, _key, perHeadValue, outputGradient);
        if (_type != ElementType.Float64)
            _single = Reference<float>.Compute(_problem, Single(query), Single(_key), Single(perHeadValue), Single(outputGradient));
        if (_type.IsHalfWidth())
            _half = HalfWidthReference.Compute(_problem, _type, query, _key, perHeadValue, outputGradient);
        _score = (_type == ElementType.Float64 ? _type : ElementType.Float32).UnitRoundoff() * Math.Max(12, _reference.LargestScore);
        _row = _score * _reference.LargestRowCancellation;
        _column = Math.Max(_row, _score * _reference.LargestColumnCancellation);
        if (_type.IsHalfWidth())
        {
            // delta comes from O as it is stored, which the naive way does without.
            _row += _type.UnitRoundoff() * _reference.LargestRowCancellation;
            _column += _type.UnitRoundoff() * _reference.LargestColumnCancellation;
        }
        (_rmsQuery, _rmsKey, _rmsValue, _rmsOutputGradient) = (Rms(query), Rms(key), Rms(value), Rms(outputGradient));
    }

    /// <summary>O, m and l.</summary>
    public (double[] Output, double[] Max, double[] Sum) ForwardResults()
    {
        // m is a maximum of sign(scale) q·k; scale m = max_j S_ij.
        double scale = Math.Abs(_problem.Scale);
        double[] max = scale == 0 ? LargestProducts() : Array.ConvertAll(_reference.Max, s => s / scale);
        double[] sum = [.. _reference.Max.Zip(_reference.LogSumExp, (m, lse) => double.IsNegativeInfinity(m) ? 0 : Math.Exp(lse - m))];
        return (_reference.Output, max, sum);
    }

    public void AssertForward(string name, double[] output, double[] max, double[] sum)
    {
        AssertClose($"O of {name}", output, _reference.Output, Naive(_single?.Output, _half?.Output), _half?.Output.Bound, _score * _rmsValue);
        for (int i = 0; i < sum.Length; i++)
            if (double.IsNegativeInfinity(_reference.Max[i]) != (double.IsNegativeInfinity(max[i]) && sum[i] == 0))
                Assert.Fail($"m, l of {name}: row {i} has m = {max[i]}, l = {sum[i]}, its largest score is {_reference.Max[i]}.");
        double scale = Math.Abs(_problem.Scale);
        double[] scaled = Array.ConvertAll(max, m => double.IsNegativeInfinity(m) ? m : scale * m);
        double[] logSumExp = [.. scaled.Zip(sum, (m, l) => m + Math.Log(l))];
        // The statistics are in float32 for 16-bit types, too. m itself need not be the maximum, only near it, and l belong to it.
        AssertClose($"|scale| m + ln l of {name}", logSumExp, _reference.LogSumExp, Double(_single?.LogSumExp), null, 4 * _score, ElementType.Float32);
        if (_type == ElementType.Float64)
            AssertClose($"|scale| m of {name}", scaled, _reference.Max, null, null, 4 * _score);
        else
            AssertClose($"|scale| m of {name}", scaled, _reference.Max, Double(_single!.Max), null, 4 * _score + LazyMaximum, ElementType.Float32);
    }

    public void AssertBackward(string name, double[] queryGradient, double[] keyGradient, double[] valueGradient)
    {
        AssertClose($"dQ of {name}", queryGradient, _reference.QueryGradient, Naive(_single?.QueryGradient, _half?.QueryGradient), _half?.QueryGradient.Bound, _row * _rmsKey);
        AssertClose($"dK of {name}", keyGradient, OverGroups(_reference.KeyGradient, _problem.HeadDim)!,
            OverGroups(Naive(_single?.KeyGradient, _half?.KeyGradient), _problem.HeadDim), OverGroups(_half?.KeyGradient.Bound, _problem.HeadDim), _given.Group * _column * _rmsQuery);
        AssertClose($"dV of {name}", valueGradient, OverGroups(_reference.ValueGradient, _problem.ValueDim)!,
            OverGroups(Naive(_single?.ValueGradient, _half?.ValueGradient), _problem.ValueDim), OverGroups(_half?.ValueGradient.Bound, _problem.ValueDim), _given.Group * _score * _rmsOutputGradient);
    }

    public void AssertWeights(string name, double[] weights)
    {
        double[] naive = _type == ElementType.Float64 ? [] : Array.ConvertAll(_reference.AverageWeights, w => _type.Round(w));
        double[]? bound = !_type.IsHalfWidth() ? null
            : Array.ConvertAll(_reference.AverageWeights, w => 1.02 * _type.UnitRoundoff() * w + _type.Underflow() + 8 * _score);
        AssertClose($"weights of {name}", weights, _reference.AverageWeights, naive, bound, 8 * _score);
    }

    /// <summary>Kernels may keep an older m while the maximum has risen by less than a factor of 2^8 of P.</summary>
    private static double LazyMaximum => 8 * Math.Log(2);

    private void AssertClose(string name, double[] actual, double[] reference, double[]? naive, double[]? bound, double unavoidable, ElementType? type = null)
    {
        Assert.Equal(reference.Length, actual.Length);
        ElementType rounding = type is not null && _type == ElementType.Float64 ? _type : type ?? _type;
        double bar = rounding == ElementType.Float64
            ? 1e-12 * reference.Where(double.IsFinite).Select(Math.Abs).DefaultIfEmpty().Max() + 2 * unavoidable
            : 2 * LargestError(naive!, reference).Error + 2 * LargestRounding(rounding, reference) + unavoidable;
        (double error, int at) = LargestError(actual, reference);
        if (!(error <= bar)) // NaN fails
            Assert.Fail($"{name}: element {at} is {actual[at]:R} instead of {reference[at]:R}, off by {error:G3}, allowed {bar:G3}.");
        for (int i = 0; bound is not null && i < bound.Length; i++)
            if (!(Math.Abs(actual[i] - reference[i]) <= bound[i]))
                Assert.Fail($"{name}: element {i} is {actual[i]:R} instead of {reference[i]:R}, off by {Math.Abs(actual[i] - reference[i]):G3}, its roundings allow {bound[i]:G3}.");
    }

    private double[]? Naive(float[]? single, HalfWidthReference.Result? half) => half?.Naive ?? Double(single);

    private static double[]? Double(float[]? values) => values is null ? null : Array.ConvertAll(values, v => (double)v);

    private static float[] Single(double[] values) => Array.ConvertAll(values, v => (float)v);

    /// <summary>K or V repeated for every query head of a group.</summary>
    private double[] PerQueryHead(double[] values, int width)
    {
        int size = _given.KeyLength * width, group = _given.Group;
        if (group == 1)
            return values;
        double[] result = new double[values.Length * group];
        for (int head = 0; head < _given.Batch * _given.Heads; head++)
            values.AsSpan(head / group * size, size).CopyTo(result.AsSpan(head * size));
        return result;
    }

    /// <summary>dK or dV summed over the query heads of a group.</summary>
    private double[]? OverGroups(double[]? values, int width)
    {
        int size = _given.KeyLength * width, group = _given.Group;
        if (group == 1 || values is null)
            return values;
        double[] result = new double[values.Length / group];
        for (int head = 0; head < _given.Batch * _given.Heads; head++)
            for (int i = 0; i < size; i++)
                result[head / group * size + i] += values[head * size + i];
        return result;
    }

    /// <summary>max_j q_i·k_j where the scale is 0.</summary>
    private double[] LargestProducts()
    {
        (int d, int nq, int nk) = (_problem.HeadDim, _problem.QueryLength, _problem.KeyLength);
        double[] max = new double[_reference.Max.Length];
        for (int row = 0; row < max.Length; row++)
        {
            max[row] = double.NegativeInfinity;
            for (int j = 0; j < Reference<double>.VisibleKeys(_problem, row % nq); j++)
            {
                double s = 0;
                for (int x = 0; x < d; x++)
                    s += _query[row * d + x] * _key[(row / nq * nk + j) * d + x];
                max[row] = Math.Max(max[row], s);
            }
        }
        return max;
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
