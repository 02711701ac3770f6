namespace TorchFlash.Testing;

/// <summary>
/// How far the results of a fused kernel for 16-bit elements may be from the exact ones, element by element: what the roundings that no such
/// kernel can avoid may amount to, of P and dS to the type before they are multiplied, of O before delta is taken from it, of the results, and of
/// the float32 that everything else is in. Dense arrays as those of the reference.
/// </summary>
internal sealed class RoundingBound
{
    private static readonly double U32 = ElementType.Float32.UnitRoundoff();

    private readonly AttentionProblem _problem;
    private readonly double[] _query, _key, _value, _outputGradient;
    private readonly double _u, _tiny;
    private readonly double[] _p, _dP;
    private readonly Bound _output, _queryGradient, _keyGradient, _valueGradient;

    private RoundingBound(AttentionProblem problem, double[] query, double[] key, double[] value, double[] outputGradient)
    {
        (_problem, _query, _key, _value, _outputGradient) = (problem, query, key, value, outputGradient);
        (_u, _tiny) = (1.02 * problem.ElementType.UnitRoundoff(), problem.ElementType.Underflow());
        (_p, _dP) = (new double[problem.KeyLength], new double[problem.KeyLength]);
        long rows = (long)problem.Batch * problem.Heads * problem.QueryLength, keys = (long)problem.Batch * problem.KeyHeadCount * problem.KeyLength;
        _output = new Bound(rows * problem.ValueDim);
        _queryGradient = new Bound(rows * problem.HeadDim);
        _keyGradient = new Bound(keys * problem.HeadDim);
        _valueGradient = new Bound(keys * problem.ValueDim);
    }

    public double[] Output => _output.Error;

    public double[] QueryGradient => _queryGradient.Error;

    public double[] KeyGradient => _keyGradient.Error;

    public double[] ValueGradient => _valueGradient.Error;

    /// <summary>The reference of a problem and the bound of its results.</summary>
    public static (Reference<double> Reference, RoundingBound Bound) Compute(AttentionProblem problem, double[] query, double[] key, double[] value, double[] outputGradient,
        ScoreInputs? scores = null)
    {
        var bound = new RoundingBound(problem, query, key, value, outputGradient);
        var reference = Reference<double>.Compute(problem, query, key, value, outputGradient, observe: bound.AddRow, scores: scores);
        bound._output.AddRoundingOf(reference.Output, bound._u, bound._tiny);
        bound._queryGradient.AddRoundingOf(reference.QueryGradient, bound._u, bound._tiny);
        bound._keyGradient.AddRoundingOf(reference.KeyGradient, bound._u, bound._tiny);
        bound._valueGradient.AddRoundingOf(reference.ValueGradient, bound._u, bound._tiny);
        return (reference, bound);
    }

    private void AddRow(int head, int keyHead, int i, ReadOnlySpan<double> o, ReadOnlySpan<double> p, ReadOnlySpan<double> dP, ReadOnlySpan<double> dS)
    {
        (int d, int dv, int nk, double scale) = (_problem.HeadDim, _problem.ValueDim, _problem.KeyLength, Math.Abs(_problem.Scale));
        int row = head * _problem.QueryLength + i;
        ReadOnlySpan<double> q = _query.AsSpan(row * d, d), dO = _outputGradient.AsSpan(row * dv, dv);
        ReadOnlySpan<double> Key(int j) => _key.AsSpan((keyHead * nk + j) * d, d);
        ReadOnlySpan<double> Value(int j) => _value.AsSpan((keyHead * nk + j) * dv, dv);

        // S_i in float32, and with it P_i
        double largest = 0;
        for (int j = 0; j < p.Length; j++)
            largest = Math.Max(largest, _p[j] = U32 * (16 + 8 * scale * Size(q, Key(j))));
        for (int j = 0; j < p.Length; j++)
            _p[j] = p[j] * (_p[j] + largest);

        // O_i = P_i V
        for (int j = 0; j < p.Length; j++)
            _output.Add(row * dv, p[j], _u * p[j] + _tiny + _p[j], Value(j));

        // delta_i = dO_i O_iᵀ, O as it is stored: with its own rounding
        double terms = 0, delta = 0;
        for (int x = 0; x < dv; x++)
        {
            terms += Math.Abs(dO[x] * o[x]);
            delta += Math.Abs(dO[x]) * (_output.Error[row * dv + x] + _u * Math.Abs(o[x]) + _tiny);
        }
        for (int j = 0; j < p.Length; j++)
            _dP[j] = 8 * U32 * (Size(dO, Value(j)) + terms);

        // dV += P_iᵀ dO_i, dQ_i = scale dS_i K, dK += scale dS_iᵀ q_i
        for (int j = 0; j < p.Length; j++)
        {
            double error = scale * (_u * Math.Abs(dS[j]) + _tiny + p[j] * (_dP[j] + delta) + _p[j] * (Math.Abs(dP[j]) + terms));
            _valueGradient.Add((keyHead * nk + j) * dv, p[j], _u * p[j] + _tiny + _p[j], dO);
            _queryGradient.Add(row * d, scale * dS[j], error, Key(j));
            _keyGradient.Add((keyHead * nk + j) * d, scale * dS[j], error, q);
        }
    }

    /// <summary>sum_x |a_x b_x|.</summary>
    private static double Size(ReadOnlySpan<double> a, ReadOnlySpan<double> b)
    {
        double size = 0;
        for (int x = 0; x < a.Length; x++)
            size += Math.Abs(a[x] * b[x]);
        return size;
    }

    /// <summary>Of one result.</summary>
    private sealed class Bound(long count)
    {
        private readonly double[] _size = new double[count];

        /// <summary>How far an element may be off.</summary>
        public double[] Error { get; } = new double[count];

        /// <summary>A row of the result gains factor x vector, where the factor may be off by so much.</summary>
        public void Add(int first, double factor, double error, ReadOnlySpan<double> vector)
        {
            for (int x = 0; x < vector.Length; x++)
            {
                Error[first + x] += error * Math.Abs(vector[x]);
                _size[first + x] += Math.Abs(factor * vector[x]);
            }
        }

        public void AddRoundingOf(double[] exact, double u, double tiny)
        {
            for (int i = 0; i < exact.Length; i++)
                Error[i] += u * Math.Abs(exact[i]) + tiny + 1e-7 * _size[i];
        }
    }
}
