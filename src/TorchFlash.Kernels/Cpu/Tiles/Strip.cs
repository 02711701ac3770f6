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

    /// <summary>Whether the registers hold four exponentials at a time and their constants: the 32 of 512 bits do, 16 do not.</summary>
    private static bool HoldsFour
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => L.TileVectors == 4 && L.Count > 1;
    }

    /// <summary>max = max(max, max_j S_j) over a block of Sᵀ (keys x queries) that was changed after its product, which knows its maxima.</summary>
    [MethodImpl(Jit.Alone)]
    public static void Maximum(Matrix<T> scores, int keys, int columns, T* max)
    {
        for (int x = 0; x < columns; x += L.Count)
        {
            T* s = scores.Data + x;
            V m = L.Load(max + x), m1 = m, m2 = m, m3 = m;
            int j = 0;
            for (; j + 4 <= keys; j += 4, s += 4 * scores.Stride)
            {
                m = L.Max(m, L.Load(s));
                m1 = L.Max(m1, L.Load(s + scores.Stride));
                m2 = L.Max(m2, L.Load(s + 2 * scores.Stride));
                m3 = L.Max(m3, L.Load(s + 3 * scores.Stride));
            }
            for (; j < keys; j++, s += scores.Stride)
                m = L.Max(m, L.Load(s));
            L.Store(max + x, L.Max(L.Max(m, m1), L.Max(m2, m3)));
        }
    }

    /// <summary>
    /// The online softmax over a block of Sᵀ (keys x queries), in place, after max:
    /// <code>
    /// m' = m, or max where that has outgrown m
    /// P = exp(S - m')                l = exp(m - m') l + sum_j P_j
    /// </code>
    /// Whether any m was raised, so that not every rescale is 1. What one query sees has no influence on the bits of another.
    /// </summary>
    [MethodImpl(Jit.Alone)]
    public static bool Softmax(Matrix<T> scores, int keys, int columns, SoftmaxState<T> state, T factor)
    {
        bool isRaised = Raise(columns, state, factor);
        V f = L.Broadcast(factor);
        int pairs = HoldsFour ? columns / (2 * L.Count) * 2 * L.Count : 0;
        for (int x = 0; HoldsFour && x < pairs; x += 2 * L.Count)
        {
            T* s = scores.Data + x;
            V m0 = L.Load(state.M + x), m1 = L.Load(state.M + x + L.Count), l0 = L.Zero, l1 = L.Zero;
            for (int j = keys / 2; j > 0; j--, s += 2 * scores.Stride)
            {
                V p0 = L.Subtract(L.Load(s), m0), p1 = L.Subtract(L.Load(s + L.Count), m1);
                V p2 = L.Subtract(L.Load(s + scores.Stride), m0), p3 = L.Subtract(L.Load(s + scores.Stride + L.Count), m1);
                Exponential.Powers<L, V, T>(ref p0, ref p1, ref p2, ref p3, f);
                L.Store(s, p0);
                L.Store(s + L.Count, p1);
                L.Store(s + scores.Stride, p2);
                L.Store(s + scores.Stride + L.Count, p3);
                l0 = L.Add(l0, L.Add(p0, p2));
                l1 = L.Add(l1, L.Add(p1, p3));
            }
            L.Store(state.Sum + x, L.Add(L.Load(state.Sum + x), l0));
            L.Store(state.Sum + x + L.Count, L.Add(L.Load(state.Sum + x + L.Count), l1));
        }
        if (keys % 2 != 0)
            Weights(scores.From(keys - 1), 1, pairs, state, factor);
        Weights(scores.From(0, pairs), keys, columns - pairs, state.From(pairs), factor);
        return isRaised;
    }

    /// <summary>Where a maximum has outgrown m: m = max, and l and the rescale to it. Whether there is such a one.</summary>
    [MethodImpl(Jit.Alone)]
    private static bool Raise(int columns, SoftmaxState<T> state, T factor)
    {
        V f = L.Broadcast(factor), slack = L.Broadcast(Slack), one = L.Broadcast(T.One);
        bool isRaised = false;
        for (int x = 0; x < columns; x += L.Count)
        {
            V max = L.Load(state.Max + x), m = L.Load(state.M + x), rescale = one, growth = L.Multiply(L.Subtract(max, m), f);
            if (L.AnyGreater(growth, slack))
            {
                V raised = L.IfLess(slack, growth, max, m);
                rescale = Exponential.Weight<L, V, T>(m, raised, f);
                L.Store(state.Sum + x, L.Multiply(rescale, L.Load(state.Sum + x)));
                L.Store(state.M + x, raised);
                isRaised = true;
            }
            L.Store(state.Rescale + x, rescale);
        }
        return isRaised;
    }

    /// <summary>P = exp(S - m) and l += sum_j P_j, one register at a time: where there is no pair of them, or of rows, or no room.</summary>
    [MethodImpl(Jit.Alone)]
    private static void Weights(Matrix<T> scores, int keys, int columns, SoftmaxState<T> state, T factor)
    {
        V f = L.Broadcast(factor);
        for (int x = 0; x < columns; x += L.Count)
        {
            T* s = scores.Data + x;
            V m = L.Load(state.M + x), l = L.Zero;
            for (int j = 0; j < keys; j++, s += scores.Stride)
            {
                V p = Exponential.Weight<L, V, T>(L.Load(s), m, f);
                L.Store(s, p);
                l = L.Add(l, p);
            }
            L.Store(state.Sum + x, L.Add(L.Load(state.Sum + x), l));
        }
    }

    /// <summary>P = exp(S - m) / l over S (queries x keys), with 1/l given.</summary>
    [MethodImpl(Jit.Alone)]
    public static void Probabilities(Matrix<T> scores, int rows, int columns, T* m, T* inverse, T factor)
    {
        V f = L.Broadcast(factor);
        for (int r = 0; r < rows; r++)
        {
            T* s = scores.Row(r);
            V max = L.Broadcast(m[r]), scale = L.Broadcast(inverse[r]);
            int x = 0;
            for (; HoldsFour && x + 4 * L.Count <= columns; x += 4 * L.Count)
            {
                V p0 = L.Subtract(L.Load(s + x), max), p1 = L.Subtract(L.Load(s + x + L.Count), max);
                V p2 = L.Subtract(L.Load(s + x + 2 * L.Count), max), p3 = L.Subtract(L.Load(s + x + 3 * L.Count), max);
                Exponential.Powers<L, V, T>(ref p0, ref p1, ref p2, ref p3, f);
                L.Store(s + x, L.Multiply(p0, scale));
                L.Store(s + x + L.Count, L.Multiply(p1, scale));
                L.Store(s + x + 2 * L.Count, L.Multiply(p2, scale));
                L.Store(s + x + 3 * L.Count, L.Multiply(p3, scale));
            }
            for (; x < columns; x += L.Count)
                L.Store(s + x, L.Multiply(Exponential.Weight<L, V, T>(L.Load(s + x), max, f), scale));
        }
    }

    /// <summary>dS = P o (dP - delta), over P (queries x keys).</summary>
    [MethodImpl(Jit.Alone)]
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
    [MethodImpl(Jit.Alone)]
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
    [MethodImpl(Jit.Alone)]
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
