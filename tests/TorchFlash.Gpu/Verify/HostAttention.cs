using System.Numerics;
using TorchFlash.Kernels;

namespace TorchFlash.Gpu.Verify;

/// <summary>What <see cref="HostAttention"/> computes, dense, in double whatever it was computed in.</summary>
internal sealed class HostResult
{
    /// <summary>O, [B, H, Nq, d_v].</summary>
    public required double[] Output { get; init; }

    /// <summary>ln sum_j exp(S_ij), [B, H, Nq]; -inf for a row without keys.</summary>
    public required double[] LogSumExp { get; init; }

    /// <summary>1/H sum over heads of P, [B, Nq, Nk].</summary>
    public required double[] Weights { get; init; }

    /// <summary>dQ, [B, H, Nq, d].</summary>
    public required double[] QueryGradient { get; init; }

    /// <summary>dK, [B, key heads, Nk, d].</summary>
    public required double[] KeyGradient { get; init; }

    /// <summary>dV, [B, key heads, Nk, d_v].</summary>
    public required double[] ValueGradient { get; init; }

    /// <summary>Largest |S_ij|: a relative error e of the scores is a relative error e max|S| of P.</summary>
    public double LargestScore { get; set; }

    /// <summary>What cancels in dS = P o (dP - delta): the largest scale (P_ij |dP_ij| + sum_x |dO_ix O_ix|) of a row.</summary>
    public double RowCancellation { get; set; }

    /// <summary>The same where the errors of different rows meet: the largest root of sum_i of its square, of a column.</summary>
    public double ColumnCancellation { get; set; }
}

/// <summary>
/// Attention and its gradients straight from the definition, S and P stored row by row. In double without rounding it is the truth; in
/// float, with every intermediate result rounded to the operands' type, it is the computation whose error sets the bar.
/// </summary>
internal static class HostAttention
{
    /// <summary>All results. Inputs are dense: Q [B, H, Nq, d], K and V [B, key heads, Nk, *], dO [B, H, Nq, d_v].</summary>
    public static HostResult Compute<T, TRounding>(AttentionProblem problem, double[] query, double[] key, double[] value, double[] outputGradient, bool parallel = false)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
        where TRounding : struct, IRounding
    {
        int keyHeads = problem.KeyHeads == 0 ? problem.Heads : problem.KeyHeads;
        long rows = (long)problem.Batch * problem.Heads * problem.QueryLength, keys = (long)problem.Batch * keyHeads * problem.KeyLength;
        var result = new HostResult
        {
            Output = new double[rows * problem.ValueDim],
            LogSumExp = new double[rows],
            Weights = new double[(long)problem.Batch * problem.QueryLength * problem.KeyLength],
            QueryGradient = new double[rows * problem.HeadDim],
            KeyGradient = new double[keys * problem.HeadDim],
            ValueGradient = new double[keys * problem.ValueDim],
        };
        var operands = new Operands<T>(Array.ConvertAll(query, T.CreateChecked), Array.ConvertAll(key, T.CreateChecked),
            Array.ConvertAll(value, T.CreateChecked), Array.ConvertAll(outputGradient, T.CreateChecked));
        // A group of query heads shares a key head, to whose gradients it adds.
        Parallel.For(0, problem.Batch * keyHeads, new ParallelOptions { MaxDegreeOfParallelism = parallel ? Environment.ProcessorCount : 1 },
            group => new Group<T, TRounding>(problem, keyHeads, group, operands, result).Compute());
        return result;
    }

    /// <summary>How many keys query i may attend to: always the first ones.</summary>
    public static int VisibleKeys(in AttentionProblem problem, int i) => problem.Causal switch
    {
        CausalMask.TopLeft => Math.Min(i + 1, problem.KeyLength),
        CausalMask.BottomRight => (int)Math.Clamp(i + 1L + problem.KeyLength - problem.QueryLength, 0, problem.KeyLength),
        _ => problem.KeyLength,
    };

    private sealed record Operands<T>(T[] Query, T[] Key, T[] Value, T[] OutputGradient);

    private readonly struct Group<T, TRounding>(AttentionProblem problem, int keyHeads, int group, Operands<T> operands, HostResult result)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
        where TRounding : struct, IRounding
    {
        private readonly T[] _p = new T[problem.KeyLength], _dS = new T[problem.KeyLength];
        private readonly T[] _dK = new T[problem.KeyLength * problem.HeadDim], _dV = new T[problem.KeyLength * problem.ValueDim];
        private readonly double[] _cancellation = new double[problem.KeyLength];

        public void Compute()
        {
            int batch = group / keyHeads, size = problem.Heads / keyHeads;
            for (int h = 0; h < size; h++)
            {
                Array.Clear(_cancellation);
                for (int i = 0; i < problem.QueryLength; i++)
                    Row(batch, (group % keyHeads) * size + h, i);
                double largest = _cancellation.Length == 0 ? 0 : Math.Sqrt(_cancellation.Max());
                lock (result)
                    result.ColumnCancellation = Math.Max(result.ColumnCancellation, largest);
            }
            Store(_dK, result.KeyGradient.AsSpan(group * _dK.Length, _dK.Length));
            Store(_dV, result.ValueGradient.AsSpan(group * _dV.Length, _dV.Length));
        }

        private void Row(int batch, int head, int i)
        {
            int d = problem.HeadDim, dv = problem.ValueDim, keys = VisibleKeys(problem, i);
            long row = ((long)batch * problem.Heads + head) * problem.QueryLength + i;
            ReadOnlySpan<T> q = operands.Query.AsSpan((int)(row * d), d), dO = operands.OutputGradient.AsSpan((int)(row * dv), dv);
            ReadOnlySpan<T> k = operands.Key.AsSpan(group * problem.KeyLength * d), v = operands.Value.AsSpan(group * problem.KeyLength * dv);
            T scale = T.CreateChecked(problem.Scale);

            // S_i = scale q_i Kᵀ, P_i = softmax(S_i)
            T max = T.NegativeInfinity, sum = T.Zero;
            for (int j = 0; j < keys; j++)
                max = T.Max(max, _p[j] = TRounding.Round(scale * Dot(q, k.Slice(j * d, d))));
            double largestScore = 0;
            for (int j = 0; j < keys; j++)
            {
                largestScore = Math.Max(largestScore, Math.Abs(double.CreateChecked(_p[j])));
                sum += _p[j] = T.Exp(_p[j] - max);
            }
            result.LogSumExp[row] = keys == 0 ? double.NegativeInfinity : double.CreateChecked(max + T.Log(sum));

            // O_i = P_i V
            Span<T> o = new T[dv];
            for (int j = 0; j < keys; j++)
            {
                _p[j] = TRounding.Round(_p[j] / sum);
                AddScaled(o, _p[j], v.Slice(j * dv, dv));
            }
            Store(o, result.Output.AsSpan((int)(row * dv), dv));
            AddWeights(batch, i, keys);

            // dV += P_iᵀ dO_i, dP_i = dO_i Vᵀ, delta_i = sum_j P_ij dP_ij
            T delta = T.Zero;
            for (int j = 0; j < keys; j++)
            {
                AddScaled(_dV.AsSpan(j * dv, dv), _p[j], dO);
                _dS[j] = TRounding.Round(Dot(dO, v.Slice(j * dv, dv)));
                delta += _p[j] * _dS[j];
            }
            Note(largestScore, keys, Dot(dO, o, absolute: true));

            // dS_i = P_i o (dP_i - delta_i), dQ_i = scale dS_i K, dK += scale dS_iᵀ q_i
            Span<T> dQ = new T[d];
            for (int j = 0; j < keys; j++)
            {
                T g = scale * TRounding.Round(_p[j] * (_dS[j] - delta));
                AddScaled(dQ, g, k.Slice(j * d, d));
                AddScaled(_dK.AsSpan(j * d, d), g, q);
            }
            Store(dQ, result.QueryGradient.AsSpan((int)(row * d), d));
        }

        private void AddWeights(int batch, int i, int keys)
        {
            lock (result.Weights)
            {
                Span<double> weights = result.Weights.AsSpan((batch * problem.QueryLength + i) * problem.KeyLength, problem.KeyLength);
                for (int j = 0; j < keys; j++)
                    weights[j] += double.CreateChecked(_p[j]) / problem.Heads;
            }
        }

        private void Note(double largestScore, int keys, T terms)
        {
            double row = 0, scale = Math.Abs(problem.Scale), o = double.CreateChecked(terms);
            for (int j = 0; j < keys; j++)
            {
                double p = double.CreateChecked(_p[j]), dP = Math.Abs(double.CreateChecked(_dS[j]));
                row = Math.Max(row, scale * (p * dP + o));
                _cancellation[j] += Math.Pow(scale * p * (dP + o), 2);
            }
            lock (result)
            {
                result.LargestScore = Math.Max(result.LargestScore, largestScore);
                result.RowCancellation = Math.Max(result.RowCancellation, row);
            }
        }

        private static void Store(ReadOnlySpan<T> from, Span<double> to)
        {
            for (int i = 0; i < from.Length; i++)
                to[i] = double.CreateChecked(TRounding.Round(from[i]));
        }

        private static T Dot(ReadOnlySpan<T> a, ReadOnlySpan<T> b, bool absolute = false)
        {
            Vector<T> sums = Vector<T>.Zero;
            int x = 0;
            for (; x <= a.Length - Vector<T>.Count; x += Vector<T>.Count)
            {
                Vector<T> product = new Vector<T>(a[x..]) * new Vector<T>(b[x..]);
                sums += absolute ? Vector.Abs(product) : product;
            }
            T sum = Vector.Sum(sums);
            for (; x < a.Length; x++)
                sum += absolute ? T.Abs(a[x] * b[x]) : a[x] * b[x];
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
}
