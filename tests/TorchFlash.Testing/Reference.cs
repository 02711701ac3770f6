using System.Numerics;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Testing;

/// <summary>A row of a head while the reference has it: of S = scale q_i Kᵀ only the keys that query i may attend to, with P = 0 where a program hides one.</summary>
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
    private readonly ScoreInputs _scores;
    private readonly PairProgram? _program;
    private readonly Dictionary<ScoreTensor, T[]> _tensorCancellation = [];

    private Reference(AttentionProblem problem, ElementType? rounding, ReferenceRow<T>? observe, ScoreInputs scores)
    {
        (_problem, _rounding, _observe, _scores) = (problem, rounding, observe, scores);
        if (problem.Score is { } score)
        {
            _program = new PairProgram(score, scores, x => double.CreateTruncating(T.CreateTruncating(x)));
            foreach (ScoreTensor tensor in score.Tensors.Where(tensor => tensor.Kind == ScoreKind.Real))
            {
                int count = tensor.Shape.Aggregate(1, (a, b) => a * b);
                (TensorGradients[tensor], _tensorCancellation[tensor]) = (new T[count], new T[count]);
            }
        }
        _scale = T.CreateChecked(problem.Scale);
        long rows = (long)problem.Batch * problem.Heads * problem.QueryLength, keys = (long)problem.Batch * problem.KeyHeadCount * problem.KeyLength;
        Output = new T[rows * problem.ValueDim];
        Max = new T[rows];
        LogSumExp = new T[rows];
        AverageWeights = new T[(long)problem.Batch * problem.QueryLength * problem.KeyLength];
        HeadWeights = new T[scores.WithHeadWeights ? rows * problem.KeyLength : 0];
        SinkGradient = new T[problem.HasSinks ? problem.Heads : 0];
        QueryGradient = new T[rows * problem.HeadDim];
        KeyGradient = new T[keys * problem.HeadDim];
        ValueGradient = new T[keys * problem.ValueDim];
    }

    /// <summary>O, [B, H, Nq, d_v].</summary>
    public T[] Output { get; }

    /// <summary>max_j S_ij, modified if there is a program, the sink's if there is one, [B, H, Nq]; -inf for a row without keys or with none but scores of -inf.</summary>
    public T[] Max { get; }

    /// <summary>ln sum_j exp(S_ij), [B, H, Nq]; -inf for a row without keys or with none but scores of -inf.</summary>
    public T[] LogSumExp { get; }

    /// <summary>1/H sum over heads of P after dropout, [B, Nq, Nk].</summary>
    public T[] AverageWeights { get; }

    /// <summary>P after dropout, [B, H, Nq, Nk]; empty where nobody asked for it.</summary>
    public T[] HeadWeights { get; }

    /// <summary>dQ, [B, H, Nq, d].</summary>
    public T[] QueryGradient { get; }

    /// <summary>dK, [B, key heads, Nk, d].</summary>
    public T[] KeyGradient { get; }

    /// <summary>dV, [B, key heads, Nk, d_v].</summary>
    public T[] ValueGradient { get; }

    /// <summary>The gradients of captured tensors of real numbers, dense.</summary>
    public Dictionary<ScoreTensor, T[]> TensorGradients { get; } = [];

    /// <summary>The gradient of the sinks, [H].</summary>
    public T[] SinkGradient { get; }

    /// <summary>Largest |S_ij|, before or after it is modified: a relative error e of the scores is a relative error e max|S| of P.</summary>
    public T LargestScore { get; private set; }

    /// <summary>
    /// What cancels in dS = P o (dP - delta), for dQ: the largest scale (P_ij |dP_ij| + sum_x |dO_ix O_ix|). An error of delta is
    /// the same in a whole row of dS, hence no P_ij before it.
    /// </summary>
    public T LargestRowCancellation { get; private set; }

    /// <summary>The same for dK, where the errors of different rows meet: the largest root of sum_i (scale P_ij (|dP_ij| + sum_x |dO_ix O_ix|))^2.</summary>
    public T LargestColumnCancellation { get; private set; }

    /// <summary>The same for the elements of captured tensors, and of sinks: the largest root of a sum of squares of what they add up.</summary>
    public T LargestTensorCancellation { get; private set; }

    /// <summary>The forward pass and, given dO, the backward pass.</summary>
    /// <param name="problem">The problem.</param>
    /// <param name="query">Q.</param>
    /// <param name="key">K.</param>
    /// <param name="value">V.</param>
    /// <param name="outputGradient">dO.</param>
    /// <param name="rounding">What S, P, dP, dS and the results are rounded to; null: they are kept as they are.</param>
    /// <param name="observe">Gets every row, where dO is given.</param>
    /// <param name="scores">What the problem's program, sinks and dropout need.</param>
    public static Reference<T> Compute(AttentionProblem problem, T[] query, T[] key, T[] value, T[]? outputGradient = null, ElementType? rounding = null,
        ReferenceRow<T>? observe = null, ScoreInputs? scores = null)
    {
        var result = new Reference<T>(problem, rounding, observe, scores ?? new ScoreInputs());
        for (int keyHead = 0; keyHead < problem.Batch * problem.KeyHeadCount; keyHead++)
        {
            T[] cancellation = new T[problem.KeyLength];
            for (int head = keyHead * problem.Group; head < (keyHead + 1) * problem.Group; head++)
                result.ComputeHead(head, keyHead, query, key, value, outputGradient, cancellation);
            foreach (T squares in cancellation)
                result.LargestColumnCancellation = T.Max(result.LargestColumnCancellation, T.Sqrt(squares));
        }
        foreach (T[] squares in result._tensorCancellation.Values)
            foreach (T square in squares)
                result.LargestTensorCancellation = T.Max(result.LargestTensorCancellation, T.Sqrt(square));
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

        (int batch, int h) = (head / _problem.Heads, head % _problem.Heads);
        T sink = _problem.HasSinks ? T.CreateTruncating(_scores.Sinks![h]) : T.NegativeInfinity;
        T kept = T.One / (T.One - T.CreateTruncating(_problem.Dropout)), sinkSquares = T.Zero;
        T[] factor = new T[nk], keep = new T[nk];

        for (int i = 0; i < nq; i++)
        {
            // S_i = scale q_i Kᵀ as the program modifies it, P_i = softmax(S_i), Z_i: 0 where a weight is dropped
            int keys = VisibleKeys(_problem, i);
            T max = sink, sum = T.Zero;
            for (int j = 0; j < keys; j++)
            {
                p[j] = Round(_scale * Dot(q.Slice(i * d, d), k.Slice(j * d, d)));
                LargestScore = T.Max(LargestScore, T.Abs(p[j]));
                if (_program is not null)
                {
                    _program.Evaluate(double.CreateTruncating(p[j]), batch, h, i, j);
                    p[j] = _program.IsVisible ? Round(T.CreateTruncating(_program.Modified)) : T.NegativeInfinity;
                    if (T.IsFinite(p[j]))
                        LargestScore = T.Max(LargestScore, T.Abs(p[j]));
                }
                max = T.Max(max, p[j]);
            }
            bool isEmpty = T.IsNegativeInfinity(max); // no key, or none with a finite score: weights, and so O and gradients, of 0
            for (int j = 0; j < keys; j++)
                sum += p[j] = isEmpty ? T.Zero : T.Exp(p[j] - max);
            T sinkWeight = isEmpty ? T.Zero : T.Exp(sink - max);
            sum += sinkWeight;
            Max[head * nq + i] = max;
            LogSumExp[head * nq + i] = isEmpty ? T.NegativeInfinity : max + T.Log(sum);
            sinkWeight = isEmpty ? T.Zero : sinkWeight / sum;

            // O_i = (Z_i o P_i) V
            for (int j = 0; j < keys; j++)
            {
                p[j] = Round(isEmpty ? T.Zero : p[j] / sum);
                keep[j] = _scores.Keep is null ? T.One : _scores.Keep(batch, h, i, j) ? kept : T.Zero;
                weights[i * nk + j] += keep[j] * p[j] / T.CreateChecked(_problem.Heads);
                if (_scores.WithHeadWeights)
                    HeadWeights[(head * nq + i) * nk + j] = keep[j] * p[j];
                if (_program is null || p[j] != T.Zero) // a hidden key has no part in it, whatever its value is
                    AddScaled(o.Slice(i * dv, dv), keep[j] * p[j], v.Slice(j * dv, dv));
            }
            if (outputGradient is null)
                continue;

            // dV += (Z_i o P_i)ᵀ dO_i, dP_i = Z_i o dO_i Vᵀ, delta_i = sum_j P_ij dP_ij - dLSE_i, dS_i = P_i o (dP_i - delta_i)
            ReadOnlySpan<T> go = Rows(outputGradient, head, nq, dv).Slice(i * dv, dv);
            Span<T> dq = Rows(QueryGradient, head, nq, d), dk = Rows(KeyGradient, keyHead, nk, d), dvalue = Rows(ValueGradient, keyHead, nk, dv);
            T delta = _scores.LogSumExpGradient is { } dLse ? -T.CreateTruncating(dLse[head * nq + i]) : T.Zero, terms = T.Abs(delta);
            for (int x = 0; x < dv; x++)
                terms += T.Abs(go[x] * o[i * dv + x]);
            for (int j = 0; j < keys; j++)
            {
                dp[j] = T.Zero;
                if (_program is not null && p[j] == T.Zero)
                    continue;
                AddScaled(dvalue.Slice(j * dv, dv), keep[j] * p[j], go);
                dp[j] = Round(keep[j] * Dot(go, v.Slice(j * dv, dv)));
                delta += p[j] * dp[j];
            }
            // dQ_i = scale dS_i K, dK += scale dS_iᵀ q_i, dS by s as it was before it was modified
            for (int j = 0; j < keys; j++)
            {
                ds[j] = T.Zero;
                if (_program is not null && p[j] == T.Zero)
                    continue;
                ds[j] = Round(p[j] * (dp[j] - delta));
                T cancels = p[j] * (T.Abs(dp[j]) + terms);
                factor[j] = T.One;
                if (_program is not null)
                {
                    _program.Evaluate(double.CreateTruncating(Round(_scale * Dot(q.Slice(i * d, d), k.Slice(j * d, d)))), batch, h, i, j);
                    foreach ((ScoreTensor tensor, int element, double derivative) in _program.TensorDerivatives)
                    {
                        T by = T.CreateTruncating(derivative);
                        TensorGradients[tensor][element] += ds[j] * by;
                        _tensorCancellation[tensor][element] += cancels * by * cancels * by;
                    }
                    factor[j] = T.CreateTruncating(_program.ScoreDerivative);
                    ds[j] = Round(ds[j] * factor[j]);
                }
                T column = _scale * factor[j] * cancels;
                LargestRowCancellation = T.Max(LargestRowCancellation, T.Abs(_scale * factor[j]) * (p[j] * T.Abs(dp[j]) + terms));
                cancellation[j] += column * column;
                AddScaled(dq.Slice(i * d, d), _scale * ds[j], k.Slice(j * d, d));
                AddScaled(dk.Slice(j * d, d), _scale * ds[j], q.Slice(i * d, d));
            }
            if (_problem.HasSinks)
            {
                SinkGradient[h] -= sinkWeight * delta;
                sinkSquares += sinkWeight * terms * sinkWeight * terms;
                LargestTensorCancellation = T.Max(LargestTensorCancellation, T.Sqrt(sinkSquares));
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
