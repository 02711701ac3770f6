using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>
/// What becomes of scores, in the block that a product has just stored and that is still in the first-level cache. Columns are whole
/// registers.
/// </summary>
internal static unsafe class Strip<L, V, T>
    where L : struct, ILanes<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>
    /// How far (in powers of 2) a maximum may outgrow m: relative errors stay what they are, nothing overflows, and hardly a tile after a
    /// query's first ones has to rescale anything.
    /// </summary>
    private static T Slack => T.CreateTruncating(16);

    /// <summary>
    /// The online softmax over a block of Sᵀ (keys x queries), in place:
    /// <code>
    /// max = max(max, max_j S_j)      m' = m, or max where that has outgrown m
    /// P = exp(S - m')                l = exp(m - m') l + sum_j P_j
    /// </code>
    /// Whether any m was raised, so that not every rescale is 1. What one query sees has no influence on the bits of another.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static bool Softmax(Matrix<T> scores, int keys, int columns, SoftmaxState<T> state, T factor)
    {
        V f = L.Broadcast(factor), slack = L.Broadcast(Slack), one = L.Broadcast(T.One);
        bool isRaised = false;
        for (int x = 0; x < columns; x += L.Count)
        {
            T* s = scores.Data + x;
            V max = L.Load(state.Max + x), max1 = max, max2 = max, max3 = max;
            int j = 0;
            for (; j + 4 <= keys; j += 4, s += 4 * scores.Stride)
            {
                max = L.Max(max, L.Load(s));
                max1 = L.Max(max1, L.Load(s + scores.Stride));
                max2 = L.Max(max2, L.Load(s + 2 * scores.Stride));
                max3 = L.Max(max3, L.Load(s + 3 * scores.Stride));
            }
            for (; j < keys; j++, s += scores.Stride)
                max = L.Max(max, L.Load(s));
            max = L.Max(L.Max(max, max1), L.Max(max2, max3));
            L.Store(state.Max + x, max);

            V m = L.Load(state.M + x), l = L.Load(state.Sum + x), rescale = one, growth = L.Multiply(L.Subtract(max, m), f);
            if (L.AnyGreater(growth, slack))
            {
                V raised = L.IfLess(slack, growth, max, m);
                rescale = Exponential.Weight<L, V, T>(m, raised, f);
                l = L.Multiply(rescale, l);
                m = raised;
                L.Store(state.M + x, m);
                isRaised = true;
            }
            L.Store(state.Rescale + x, rescale);

            V sum = L.Zero;
            s = scores.Data + x;
            for (j = 0; j < keys; j++, s += scores.Stride)
            {
                V p = Exponential.Weight<L, V, T>(L.Load(s), m, f);
                L.Store(s, p);
                sum = L.Add(sum, p);
            }
            L.Store(state.Sum + x, L.Add(l, sum));
        }
        return isRaised;
    }

    /// <summary>P = exp(S - m) / l over S (queries x keys), with 1/l given.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Probabilities(Matrix<T> scores, int rows, int columns, T* m, T* inverse, T factor)
    {
        V f = L.Broadcast(factor);
        for (int r = 0; r < rows; r++)
        {
            T* s = scores.Row(r);
            V max = L.Broadcast(m[r]), scale = L.Broadcast(inverse[r]);
            for (int x = 0; x < columns; x += L.Count)
                L.Store(s + x, L.Multiply(Exponential.Weight<L, V, T>(L.Load(s + x), max, f), scale));
        }
    }

    /// <summary>dS = P o (dP - delta), over P (queries x keys).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void ScoreGradients(Matrix<T> probabilities, Matrix<T> gradients, int rows, int columns, T* delta)
    {
        for (int r = 0; r < rows; r++)
        {
            T* p = probabilities.Row(r), dp = gradients.Row(r);
            V d = L.Broadcast(delta[r]);
            for (int x = 0; x < columns; x += L.Count)
                L.Store(p + x, L.Multiply(L.Load(p + x), L.Subtract(L.Load(dp + x), d)));
        }
    }

    /// <summary>dS = P o (Z o dP - delta), over P, from Z o P, without the factor of what is kept.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void ScoreGradients(Matrix<T> probabilities, Matrix<T> kept, T factor, Matrix<T> gradients, int rows, int columns, T* delta)
    {
        V f = L.Broadcast(factor);
        for (int r = 0; r < rows; r++)
        {
            T* p = probabilities.Row(r), z = kept.Row(r), dp = gradients.Row(r);
            V d = L.Broadcast(delta[r]);
            for (int x = 0; x < columns; x += L.Count)
                L.Store(p + x, L.Subtract(L.Multiply(L.Multiply(L.Load(z + x), f), L.Load(dp + x)), L.Multiply(L.Load(p + x), d)));
        }
    }

    /// <summary>X = X o Y.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Multiply(Matrix<T> x, Matrix<T> y, int rows, int columns)
    {
        for (int r = 0; r < rows; r++)
        {
            T* a = x.Row(r), b = y.Row(r);
            for (int c = 0; c < columns; c += L.Count)
                L.Store(a + c, L.Multiply(L.Load(a + c), L.Load(b + c)));
        }
    }
}

/// <summary>What the online softmax keeps for every query of a tile, one element each.</summary>
internal readonly unsafe struct SoftmaxState<T>(T* max, T* m, T* sum, T* rescale)
    where T : unmanaged
{
    /// <summary>Running maximum of ± Q Kᵀ (before scaling, like all maxima here).</summary>
    public readonly T* Max = max;

    /// <summary>m: what the exponentials are relative to, the running maximum or an earlier one that it has not outgrown.</summary>
    public readonly T* M = m;

    /// <summary>l, relative to m.</summary>
    public readonly T* Sum = sum;

    /// <summary>exp(m - m') of the last tile.</summary>
    public readonly T* Rescale = rescale;

    public SoftmaxState<T> From(int query) => new(Max + query, M + query, Sum + query, Rescale + query);
}
