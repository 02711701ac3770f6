using System.Numerics;

namespace TorchFlash.Testing;

/// <summary>A row of a head while the reference has it: of S = scale q_i Kᵀ only the keys that query i attends to.</summary>
/// <param name="head">Query head, counted over all batch entries.</param>
/// <param name="keyHead">The head of key and value that it attends to.</param>
/// <param name="i">The query.</param>
/// <param name="o">O_i = P_i V.</param>
/// <param name="p">P_i.</param>
/// <param name="dP">dP_i = dO_i Vᵀ.</param>
/// <param name="dS">dS_i = P_i o (dP_i - delta_i).</param>
internal delegate void ReferenceRow<T>(int head, int keyHead, int i, ReadOnlySpan<T> o, ReadOnlySpan<T> p, ReadOnlySpan<T> dP, ReadOnlySpan<T> dS);

/// <summary>
/// Attention and its gradients straight from the definition, S and P stored row by row. In double it is the truth the engines are held
/// against; in float, with every intermediate result rounded to the operands' type where that is narrower, and sums in plain order, it is the naive
/// computation whose error sets the bar.
/// All arrays are dense, [B, H, N, d] in row-major order; key and value have fewer heads where each serves a group of query heads.
/// </summary>
internal sealed class Reference<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly AttentionProblem _problem;
    private readonly T _scale;
    private readonly ElementType? _rounding;
    private readonly ReferenceRow<T>? _observe;

    private Reference(AttentionProblem problem, ElementType? rounding, ReferenceRow<T>? observe)
    {
        (_problem, _rounding, _observe) = (problem, rounding, observe);
        _scale = T.CreateChecked(problem.Scale);
        long rows = (long)problem.Batch * problem.Heads * problem.QueryLength, keys = (long)problem.Batch * problem.KeyHeadCount * problem.KeyLength;
        Output = new T[rows * problem.ValueDim];
        Max = new T[rows];
        LogSumExp = new T[rows];
        AverageWeights = new T[(long)problem.Batch * problem.QueryLength * problem.KeyLength];
        QueryGradient = new T[rows * problem.HeadDim];
        KeyGradient = new T[keys * problem.HeadDim];
        ValueGradient = new T[keys * problem.ValueDim];
    }

    /// <summary>O, [B, H, Nq, d_v].</summary>
    public T[] Output { get; }

    /// <summary>max_j S_ij, [B, H, Nq]; -inf for a row without keys or with none but scores of -inf.</summary>
    public T[] Max { get; }

    /// <summary>ln sum_j exp(S_ij), [B, H, Nq]; -inf for a row without keys or with none but scores of -inf.</summary>
    public T[] LogSumExp { get; }

    /// <summary>1/H sum over heads of P, [B, Nq, Nk].</summary>
    public T[] AverageWeights { get; }

    /// <summary>dQ, [B, H, Nq, d].</summary>
    public T[] QueryGradient { get; }

    /// <summary>dK, [B, key heads, Nk, d].</summary>
    public T[] KeyGradient { get; }

    /// <summary>dV, [B, key heads, Nk, d_v].</summary>
    public T[] ValueGradient { get; }

    /// <summary>Largest |S_ij|: a relative error e of the scores is a relative error e max|S| of P.</summary>
    public T LargestScore { get; private set; }

    /// <summary>
    /// What cancels in dS = P o (dP - delta), for dQ: the largest scale (P_ij |dP_ij| + sum_x |dO_ix O_ix|). An error of delta is
    /// the same in a whole row of dS, hence no P_ij before it.
    /// </summary>
    public T LargestRowCancellation { get; private set; }

    /// <summary>The same for dK, where the errors of different rows meet: the largest root of sum_i (scale P_ij (|dP_ij| + sum_x |dO_ix O_ix|))^2.</summary>
    public T LargestColumnCancellation { get; private set; }

    /// <summary>The forward pass and, given dO, the backward pass.</summary>
    /// <param name="problem">The problem.</param>
    /// <param name="query">Q.</param>
    /// <param name="key">K.</param>
    /// <param name="value">V.</param>
    /// <param name="outputGradient">dO.</param>
    /// <param name="rounding">What S, P, dP, dS and the results are rounded to; null: they are kept as they are.</param>
    /// <param name="observe">Gets every row, where dO is given.</param>
    public static Reference<T> Compute(AttentionProblem problem, T[] query, T[] key, T[] value, T[]? outputGradient = null, ElementType? rounding = null,
        ReferenceRow<T>? observe = null)
    {
        var result = new Reference<T>(problem, rounding, observe);
        for (int keyHead = 0; keyHead < problem.Batch * problem.KeyHeadCount; keyHead++)
        {
            T[] cancellation = new T[problem.KeyLength];
            for (int head = keyHead * problem.Group; head < (keyHead + 1) * problem.Group; head++)
                result.ComputeHead(head, keyHead, query, key, value, outputGradient, cancellation);
            foreach (T squares in cancellation)
                result.LargestColumnCancellation = T.Max(result.LargestColumnCancellation, T.Sqrt(squares));
        }
        foreach (T[] array in rounding is null ? [] : new[] { result.Output, result.QueryGradient, result.KeyGradient, result.ValueGradient })
            for (int i = 0; i < array.Length; i++)
                array[i] = result.Round(array[i]);
        return result;
    }

    /// <summary>How many keys query i may attend to: always the first ones.</summary>
    public static int VisibleKeys(AttentionProblem problem, int i) => problem.Causal switch
    {
        CausalMask.TopLeft => Math.Min(i + 1, problem.KeyLength),
        CausalMask.BottomRight => Math.Clamp(i + 1 + problem.KeyLength - problem.QueryLength, 0, problem.KeyLength),
        _ => problem.KeyLength,
    };

    /// <summary>Query head `head` (of all batch entries) and the head of key and value that it shares with its group.</summary>
    private void ComputeHead(int head, int keyHead, T[] query, T[] key, T[] value, T[]? outputGradient, T[] cancellation)
    {
        int d = _problem.HeadDim, dv = _problem.ValueDim, nq = _problem.QueryLength, nk = _problem.KeyLength;
        ReadOnlySpan<T> q = Rows(query, head, nq, d), k = Rows(key, keyHead, nk, d), v = Rows(value, keyHead, nk, dv);
        Span<T> o = Rows(Output, head, nq, dv), weights = Rows(AverageWeights, head / _problem.Heads, nq, nk);
        T[] p = new T[nk], dp = new T[nk], ds = new T[nk];

        for (int i = 0; i < nq; i++)
        {
            // S_i = scale q_i Kᵀ, P_i = softmax(S_i)
            int keys = VisibleKeys(_problem, i);
            T max = T.NegativeInfinity, sum = T.Zero;
            for (int j = 0; j < keys; j++)
            {
                p[j] = Round(_scale * Dot(q.Slice(i * d, d), k.Slice(j * d, d)));
                max = T.Max(max, p[j]);
                LargestScore = T.Max(LargestScore, T.Abs(p[j]));
            }
            bool isEmpty = T.IsNegativeInfinity(max); // no key, or none with a finite score: weights, and so O and gradients, of 0
            for (int j = 0; j < keys; j++)
                sum += p[j] = isEmpty ? T.Zero : T.Exp(p[j] - max);
            Max[head * nq + i] = max;
            LogSumExp[head * nq + i] = isEmpty ? T.NegativeInfinity : max + T.Log(sum);

            // O_i = P_i V
            for (int j = 0; j < keys; j++)
            {
                p[j] = Round(isEmpty ? T.Zero : p[j] / sum);
                weights[i * nk + j] += p[j] / T.CreateChecked(_problem.Heads);
                AddScaled(o.Slice(i * dv, dv), p[j], v.Slice(j * dv, dv));
            }
            if (outputGradient is null)
                continue;

            // dV += P_iᵀ dO_i, dP_i = dO_i Vᵀ, delta_i = sum_j P_ij dP_ij, dS_i = P_i o (dP_i - delta_i)
            ReadOnlySpan<T> go = Rows(outputGradient, head, nq, dv).Slice(i * dv, dv);
            Span<T> dq = Rows(QueryGradient, head, nq, d), dk = Rows(KeyGradient, keyHead, nk, d), dvalue = Rows(ValueGradient, keyHead, nk, dv);
            T delta = T.Zero, terms = T.Zero;
            for (int x = 0; x < dv; x++)
                terms += T.Abs(go[x] * o[i * dv + x]);
            for (int j = 0; j < keys; j++)
            {
                AddScaled(dvalue.Slice(j * dv, dv), p[j], go);
                dp[j] = Round(Dot(go, v.Slice(j * dv, dv)));
                delta += p[j] * dp[j];
            }
            // dQ_i = scale dS_i K, dK += scale dS_iᵀ q_i
            for (int j = 0; j < keys; j++)
            {
                LargestRowCancellation = T.Max(LargestRowCancellation, T.Abs(_scale) * (p[j] * T.Abs(dp[j]) + terms));
                T column = _scale * p[j] * (T.Abs(dp[j]) + terms);
                cancellation[j] += column * column;
                ds[j] = Round(p[j] * (dp[j] - delta));
                AddScaled(dq.Slice(i * d, d), _scale * ds[j], k.Slice(j * d, d));
                AddScaled(dk.Slice(j * d, d), _scale * ds[j], q.Slice(i * d, d));
            }
            _observe?.Invoke(head, keyHead, i, o.Slice(i * dv, dv), p.AsSpan(0, keys), dp.AsSpan(0, keys), ds.AsSpan(0, keys));
        }
    }

    private T Round(T value) => _rounding is { } type ? T.CreateTruncating(type.Round(double.CreateTruncating(value))) : value;

    private static Span<T> Rows(T[] array, int head, int rows, int width) => array.AsSpan(head * rows * width, rows * width);

    private static T Dot(ReadOnlySpan<T> a, ReadOnlySpan<T> b)
    {
        T sum = T.Zero;
        int x = 0;
        if (typeof(T) == typeof(double)) // the truth; the naive computation, in float, sums in plain order
        {
            Vector<T> sums = Vector<T>.Zero;
            for (; x <= a.Length - Vector<T>.Count; x += Vector<T>.Count)
                sums += new Vector<T>(a[x..]) * new Vector<T>(b[x..]);
            sum = Vector.Sum(sums);
        }
        for (; x < a.Length; x++)
            sum += a[x] * b[x];
        return sum;
    }

    private static void AddScaled(Span<T> y, T a, ReadOnlySpan<T> x)
    {
        var factor = new Vector<T>(a);
        int i = 0;
        for (; i <= y.Length - Vector<T>.Count; i += Vector<T>.Count)
            (new Vector<T>(y[i..]) + factor * new Vector<T>(x[i..])).CopyTo(y[i..]);
        for (; i < y.Length; i++)
            y[i] += a * x[i];
    }
}
