namespace TorchFlash.Cuda.Tests;

/// <summary>
/// Attention of 16-bit elements done twice: naively, every product of matrices rounded to the type as a composition of library operators does
/// (the bar of FlashAttention's own tests), and in double with a bound, element by element, of what the roundings that no fused kernel can
/// avoid may amount to: of P and dS to the type before they are multiplied, of O before delta is taken from it, of the results, and of
/// the float32 that everything else is in. As many heads of key and value as of the query; dense arrays [B, H, N, d].
/// </summary>
internal sealed class HalfWidthReference
{
    private readonly AttentionProblem _problem;
    private readonly ElementType _type;
    private readonly double _u, _tiny;

    private HalfWidthReference(AttentionProblem problem, ElementType type)
    {
        _problem = problem;
        _type = type;
        _u = 1.02 * type.UnitRoundoff();
        _tiny = type.Underflow();
        long heads = (long)problem.Batch * problem.Heads, rows = heads * problem.QueryLength, keys = heads * problem.KeyLength;
        Output = new Result(rows * problem.ValueDim);
        QueryGradient = new Result(rows * problem.HeadDim);
        KeyGradient = new Result(keys * problem.HeadDim);
        ValueGradient = new Result(keys * problem.ValueDim);
    }

    public Result Output { get; }

    public Result QueryGradient { get; }

    public Result KeyGradient { get; }

    public Result ValueGradient { get; }

    public static HalfWidthReference Compute(AttentionProblem problem, ElementType type, double[] query, double[] key, double[] value, double[] outputGradient)
    {
        var result = new HalfWidthReference(problem, type);
        for (int head = 0; head < problem.Batch * problem.Heads; head++)
            result.ComputeHead(head, query, key, value, outputGradient);
        result.AddRoundingOfResults();
        return result;
    }

    private void ComputeHead(int head, double[] query, double[] key, double[] value, double[] outputGradient)
    {
        (int d, int dv, int nq, int nk) = (_problem.HeadDim, _problem.ValueDim, _problem.QueryLength, _problem.KeyLength);
        var row = new Row(nk);
        for (int i = 0; i < nq; i++)
        {
            int keys = TorchFlash.Kernels.Tests.Support.Reference<double>.VisibleKeys(_problem, i);
            ReadOnlySpan<double> q = query.AsSpan((head * nq + i) * d, d), go = outputGradient.AsSpan((head * nq + i) * dv, dv);
            Softmax(row, q, key.AsSpan(head * nk * d), keys);
            int o = (head * nq + i) * dv;
            for (int j = 0; j < keys; j++)
                for (int x = 0; x < dv; x++)
                    Output.Add(o + x, row.Exact[j], row.Naive[j], value[(head * nk + j) * dv + x], _u * row.Exact[j] + _tiny + row.Error[j]);
            Gradients(row, head, i, keys, q, go, key, value, o);
        }
    }

    /// <summary>S_i = scale q_i Kᵀ, P_i = softmax(S_i): exactly, with S and P rounded, and the error of P in float32.</summary>
    private void Softmax(Row row, ReadOnlySpan<double> q, ReadOnlySpan<double> key, int keys)
    {
        int d = _problem.HeadDim;
        double u32 = ElementType.Float32.UnitRoundoff();
        double max = double.NegativeInfinity, naiveMax = max, sum = 0, naiveSum = 0;
        for (int j = 0; j < keys; j++)
        {
            double s = 0, size = 0;
            for (int x = 0; x < d; x++)
            {
                s += q[x] * key[j * d + x];
                size += Math.Abs(q[x] * key[j * d + x]);
            }
            row.Exact[j] = s * _problem.Scale;
            row.Naive[j] = _type.Round(s * _problem.Scale);
            row.Error[j] = u32 * (16 + 8 * Math.Abs(_problem.Scale) * size);
            max = Math.Max(max, row.Exact[j]);
            naiveMax = Math.Max(naiveMax, row.Naive[j]);
        }
        double largestError = 0;
        for (int j = 0; j < keys; j++)
        {
            sum += row.Exact[j] = Math.Exp(row.Exact[j] - max);
            naiveSum += row.Naive[j] = Math.Exp(row.Naive[j] - naiveMax);
            largestError = Math.Max(largestError, row.Error[j]);
        }
        for (int j = 0; j < keys; j++)
        {
            row.Exact[j] /= sum;
            row.Naive[j] = _type.Round(row.Naive[j] / naiveSum);
            row.Error[j] = row.Exact[j] * (row.Error[j] + largestError);
        }
    }

    /// <summary>dV += P_iᵀ dO_i, dP_i = dO_i Vᵀ, dS_i = P_i o (dP_i - delta_i), dQ_i = scale dS_i K, dK += scale dS_iᵀ q_i.</summary>
    private void Gradients(Row row, int head, int i, int keys, ReadOnlySpan<double> q, ReadOnlySpan<double> go, double[] key, double[] value, int o)
    {
        (int d, int dv, int nq, int nk) = (_problem.HeadDim, _problem.ValueDim, _problem.QueryLength, _problem.KeyLength);
        double delta = 0, naiveDelta = 0, terms = 0, deltaError = 0, u32 = ElementType.Float32.UnitRoundoff();
        for (int x = 0; x < dv; x++)
        {
            terms += Math.Abs(go[x] * Output.Exact[o + x]);
            // O as it is stored: the bound so far is of the sum, the rest of its rounding.
            deltaError += Math.Abs(go[x]) * (Output.Bound[o + x] + _u * Math.Abs(Output.Exact[o + x]) + _tiny);
        }
        for (int j = 0; j < keys; j++)
        {
            double dp = 0, size = 0;
            for (int x = 0; x < dv; x++)
            {
                dp += go[x] * value[(head * nk + j) * dv + x];
                size += Math.Abs(go[x] * value[(head * nk + j) * dv + x]);
            }
            (row.Dp[j], row.NaiveDp[j], row.DpError[j]) = (dp, _type.Round(dp), 8 * u32 * (size + terms));
            delta += row.Exact[j] * dp;
            naiveDelta += row.Naive[j] * row.NaiveDp[j];
        }
        double scale = _problem.Scale;
        for (int j = 0; j < keys; j++)
        {
            double p = row.Exact[j], ds = p * (row.Dp[j] - delta), naive = _type.Round(row.Naive[j] * (row.NaiveDp[j] - naiveDelta));
            double error = _u * Math.Abs(ds) + _tiny + p * (row.DpError[j] + deltaError) + row.Error[j] * (Math.Abs(row.Dp[j]) + terms);
            for (int x = 0; x < dv; x++)
                ValueGradient.Add((head * nk + j) * dv + x, p, row.Naive[j], go[x], _u * p + _tiny + row.Error[j]);
            for (int x = 0; x < d; x++)
            {
                QueryGradient.Add((head * nq + i) * d + x, ds * scale, naive * scale, key[(head * nk + j) * d + x], error * Math.Abs(scale));
                KeyGradient.Add((head * nk + j) * d + x, ds * scale, naive * scale, q[x], error * Math.Abs(scale));
            }
        }
    }

    private void AddRoundingOfResults()
    {
        foreach (Result result in new[] { Output, QueryGradient, KeyGradient, ValueGradient })
        {
            for (int i = 0; i < result.Exact.Length; i++)
            {
                result.Naive[i] = _type.Round(result.Naive[i]);
                result.Bound[i] += _u * Math.Abs(result.Exact[i]) + _tiny + 1e-7 * result.Size[i];
            }
        }
    }

    /// <summary>One result.</summary>
    internal sealed class Result(long count)
    {
        /// <summary>In double.</summary>
        public double[] Exact { get; } = new double[count];

        /// <summary>With every step rounded.</summary>
        public double[] Naive { get; } = new double[count];

        /// <summary>How far a fused kernel's element may be from the exact one.</summary>
        public double[] Bound { get; } = new double[count];

        /// <summary>Sum of the sizes of the terms.</summary>
        public double[] Size { get; } = new double[count];

        /// <summary>Adds a product to an element.</summary>
        public void Add(int at, double exact, double naive, double factor, double error)
        {
            Exact[at] += exact * factor;
            Naive[at] += naive * factor;
            Bound[at] += error * Math.Abs(factor);
            Size[at] += Math.Abs(exact * factor);
        }
    }

    private sealed class Row(int keys)
    {
        public readonly double[] Exact = new double[keys], Naive = new double[keys], Error = new double[keys];
        public readonly double[] Dp = new double[keys], NaiveDp = new double[keys], DpError = new double[keys];
    }
}
