using System.Numerics;

namespace TorchFlash.Kernels.Cpu;

/// <summary>Row by row, unvectorised: stands in until the tiled passes are here.</summary>
internal static unsafe class Scaffold<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private static readonly T Log2E = T.CreateChecked(1.4426950408889634);

    private static T* Row(TensorView v, int b, int h, int n) => (T*)v.Data + b * v.BatchStride + h * v.HeadStride + n * v.RowStride;

    private static T Dot(T* a, T* b, int n)
    {
        T s = T.Zero;
        for (int i = 0; i < n; i++)
            s += a[i] * b[i];
        return s;
    }

    public static void Forward(AttentionProblem p, ForwardArguments a)
    {
        T scale = T.CreateChecked(p.Scale) * Log2E;
        T[] s = new T[p.KeyLength];
        for (int b = 0; b < p.Batch; b++)
            for (int h = 0; h < p.Heads; h++)
                for (int i = 0; i < p.QueryLength; i++)
                {
                    long row = ((long)b * p.Heads + h) * p.QueryLength + i;
                    int keys = (int)Math.Clamp((long)i + p.DiagonalOffset + 1, 0, p.KeyLength);
                    T m = T.NegativeInfinity, l = T.Zero;
                    for (int j = 0; j < keys; j++)
                        m = T.Max(m, s[j] = scale * Dot(Row(a.Query, b, h, i), Row(a.Key, b, h, j), p.HeadDim));
                    T* o = Row(a.Output, b, h, i);
                    new Span<T>(o, p.ValueDim).Clear();
                    for (int j = 0; j < keys; j++)
                    {
                        T w = T.Exp2(s[j] - m);
                        l += w;
                        T* v = Row(a.Value, b, h, j);
                        for (int x = 0; x < p.ValueDim; x++)
                            o[x] += w * v[x];
                    }
                    if (keys > 0)
                        for (int x = 0; x < p.ValueDim; x++)
                            o[x] /= l;
                    ((T*)a.Statistics.Max)[row] = m;
                    ((T*)a.Statistics.Sum)[row] = l;
                }
    }

    public static void Backward(AttentionProblem p, BackwardArguments a)
    {
        T scale = T.CreateChecked(p.Scale);
        for (int b = 0; b < p.Batch; b++)
            for (int h = 0; h < p.Heads; h++)
            {
                for (int j = 0; j < p.KeyLength; j++)
                {
                    new Span<T>(Row(a.KeyGradient, b, h, j), p.HeadDim).Clear();
                    new Span<T>(Row(a.ValueGradient, b, h, j), p.ValueDim).Clear();
                }
                for (int i = 0; i < p.QueryLength; i++)
                {
                    long row = ((long)b * p.Heads + h) * p.QueryLength + i;
                    int keys = (int)Math.Clamp((long)i + p.DiagonalOffset + 1, 0, p.KeyLength);
                    T m = ((T*)a.Statistics.Max)[row], l = ((T*)a.Statistics.Sum)[row];
                    T* q = Row(a.Query, b, h, i), go = Row(a.OutputGradient, b, h, i), dq = Row(a.QueryGradient, b, h, i);
                    T delta = Dot(go, Row(a.Output, b, h, i), p.ValueDim);
                    new Span<T>(dq, p.HeadDim).Clear();
                    for (int j = 0; j < keys; j++)
                    {
                        T* k = Row(a.Key, b, h, j), v = Row(a.Value, b, h, j), dk = Row(a.KeyGradient, b, h, j), dv = Row(a.ValueGradient, b, h, j);
                        T w = T.Exp2(scale * Log2E * Dot(q, k, p.HeadDim) - m) / l;
                        T ds = w * (Dot(go, v, p.ValueDim) - delta) * scale;
                        for (int x = 0; x < p.HeadDim; x++)
                        {
                            dq[x] += ds * k[x];
                            dk[x] += ds * q[x];
                        }
                        for (int x = 0; x < p.ValueDim; x++)
                            dv[x] += w * go[x];
                    }
                }
            }
    }

    public static void Weights(AttentionProblem p, WeightsArguments a)
    {
        T scale = T.CreateChecked(p.Scale) * Log2E;
        for (int b = 0; b < p.Batch; b++)
            for (int i = 0; i < p.QueryLength; i++)
            {
                T* w = Row(a.Weights, b, 0, i);
                new Span<T>(w, p.KeyLength).Clear();
                int keys = (int)Math.Clamp((long)i + p.DiagonalOffset + 1, 0, p.KeyLength);
                for (int h = 0; h < p.Heads; h++)
                {
                    long row = ((long)b * p.Heads + h) * p.QueryLength + i;
                    for (int j = 0; j < keys; j++)
                        w[j] += T.Exp2(scale * Dot(Row(a.Query, b, h, i), Row(a.Key, b, h, j), p.HeadDim) - ((T*)a.Statistics.Max)[row])
                            / ((T*)a.Statistics.Sum)[row] / T.CreateChecked(p.Heads);
                }
            }
    }
}
