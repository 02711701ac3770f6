using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>
/// The one register tile behind every product of the passes: 6 rows x N registers of C (+)= A B, where A(r, k) = a[r rs + k ks] is
/// broadcast and B(k, :) = b[k ldb ..] is loaded. Any A works, transposed or not (Pᵀ dO and dSᵀ Q walk P down its columns).
/// </summary>
/// <remarks>
/// The accumulators are named locals because the JIT keeps only those in registers (an array or [InlineArray] costs a factor of 3),
/// and epilogues of another shape are told apart by type, which folds at import: a guard read from a property slows every
/// instantiation, even those in which it is dead.
/// </remarks>
internal static unsafe class RegisterTile<V, T, N, E>
    where V : unmanaged, ILanes<V, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
    where N : struct, ICount
    where E : struct, IEpilogue<V, T>
{
    /// <param name="a">A(0, 0).</param>
    /// <param name="rs">Elements from a row of A to the next.</param>
    /// <param name="ks">Elements from a column of A to the next.</param>
    /// <param name="b">B(0, 0).</param>
    /// <param name="ldb">Elements from a row of B to the next.</param>
    /// <param name="c">C(0, 0).</param>
    /// <param name="ldc">Elements from a row of C to the next.</param>
    /// <param name="depth">Columns of A, rows of B.</param>
    /// <param name="e">Row or column scalars of the epilogue.</param>
    /// <param name="exponent">Constants of the exponential (see <see cref="Exponent"/>), where the epilogue has one.</param>
    /// <param name="mask">Row 0 is masked in column x where mask[x] &lt; 0 (masked epilogues only).</param>
    /// <param name="maskStep">The mask of row r is at mask - r * maskStep.</param>
    /// <param name="blocks">How many times six rows: A, C and row scalars move on, everything else stays.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Run(T* a, nint rs, nint ks, T* b, nint ldb, T* c, nint ldc, nint depth, T* e, T* exponent, T* mask, nint maskStep, int blocks)
    {
        bool isColumnwise = typeof(E) == typeof(ScoreMax<V, T>) || typeof(E) == typeof(MaskedScoreMax<V, T>)
            || typeof(E) == typeof(OnlineSoftmax<V, T>) || typeof(E) == typeof(MaskedOnlineSoftmax<V, T>); // e belongs to columns
        nint rs2 = 2 * rs;
        for (; blocks > 0; blocks--, a += 6 * rs, c += 6 * ldc)
        {
            V c00, c01, c02, c03, c10, c11, c12, c13, c20, c21, c22, c23, c30, c31, c32, c33, c40, c41, c42, c43, c50, c51, c52, c53;
            if (E.FromC)
            {
                Begin(c, e, out c00, out c01, out c02, out c03);
                Begin(c + ldc, e + 1, out c10, out c11, out c12, out c13);
                Begin(c + 2 * ldc, e + 2, out c20, out c21, out c22, out c23);
                Begin(c + 3 * ldc, e + 3, out c30, out c31, out c32, out c33);
                Begin(c + 4 * ldc, e + 4, out c40, out c41, out c42, out c43);
                Begin(c + 5 * ldc, e + 5, out c50, out c51, out c52, out c53);
            }
            else
            {
                c00 = c01 = c02 = c03 = V.Zero;
                c10 = c11 = c12 = c13 = V.Zero;
                c20 = c21 = c22 = c23 = V.Zero;
                c30 = c31 = c32 = c33 = V.Zero;
                c40 = c41 = c42 = c43 = V.Zero;
                c50 = c51 = c52 = c53 = V.Zero;
            }

            V b0, b1 = V.Zero, b2 = V.Zero, b3 = V.Zero, t;
            T* p = a, q = a + 3 * rs, bk = b;
            for (nint k = depth; k > 0; k--)
            {
                b0 = V.Load(bk);
                if (N.Value > 1)
                    b1 = V.Load(bk + V.Count);
                if (N.Value > 2)
                    b2 = V.Load(bk + 2 * V.Count);
                if (N.Value > 3)
                    b3 = V.Load(bk + 3 * V.Count);
                bk += ldb;
                t = V.Broadcast(p[0]);
                c00 = V.MultiplyAdd(t, b0, c00);
                if (N.Value > 1)
                    c01 = V.MultiplyAdd(t, b1, c01);
                if (N.Value > 2)
                    c02 = V.MultiplyAdd(t, b2, c02);
                if (N.Value > 3)
                    c03 = V.MultiplyAdd(t, b3, c03);
                t = V.Broadcast(p[rs]);
                c10 = V.MultiplyAdd(t, b0, c10);
                if (N.Value > 1)
                    c11 = V.MultiplyAdd(t, b1, c11);
                if (N.Value > 2)
                    c12 = V.MultiplyAdd(t, b2, c12);
                if (N.Value > 3)
                    c13 = V.MultiplyAdd(t, b3, c13);
                t = V.Broadcast(p[rs2]);
                c20 = V.MultiplyAdd(t, b0, c20);
                if (N.Value > 1)
                    c21 = V.MultiplyAdd(t, b1, c21);
                if (N.Value > 2)
                    c22 = V.MultiplyAdd(t, b2, c22);
                if (N.Value > 3)
                    c23 = V.MultiplyAdd(t, b3, c23);
                t = V.Broadcast(q[0]);
                c30 = V.MultiplyAdd(t, b0, c30);
                if (N.Value > 1)
                    c31 = V.MultiplyAdd(t, b1, c31);
                if (N.Value > 2)
                    c32 = V.MultiplyAdd(t, b2, c32);
                if (N.Value > 3)
                    c33 = V.MultiplyAdd(t, b3, c33);
                t = V.Broadcast(q[rs]);
                c40 = V.MultiplyAdd(t, b0, c40);
                if (N.Value > 1)
                    c41 = V.MultiplyAdd(t, b1, c41);
                if (N.Value > 2)
                    c42 = V.MultiplyAdd(t, b2, c42);
                if (N.Value > 3)
                    c43 = V.MultiplyAdd(t, b3, c43);
                t = V.Broadcast(q[rs2]);
                c50 = V.MultiplyAdd(t, b0, c50);
                if (N.Value > 1)
                    c51 = V.MultiplyAdd(t, b1, c51);
                if (N.Value > 2)
                    c52 = V.MultiplyAdd(t, b2, c52);
                if (N.Value > 3)
                    c53 = V.MultiplyAdd(t, b3, c53);
                p += ks;
                q += ks;
            }

            if (typeof(E) == typeof(MaskedScoreMax<V, T>) || typeof(E) == typeof(MaskedOnlineSoftmax<V, T>))
            {
                Mask(mask, ref c00, ref c01, ref c02, ref c03);
                Mask(mask - maskStep, ref c10, ref c11, ref c12, ref c13);
                Mask(mask - 2 * maskStep, ref c20, ref c21, ref c22, ref c23);
                Mask(mask - 3 * maskStep, ref c30, ref c31, ref c32, ref c33);
                Mask(mask - 4 * maskStep, ref c40, ref c41, ref c42, ref c43);
                Mask(mask - 5 * maskStep, ref c50, ref c51, ref c52, ref c53);
            }

            if (typeof(E) == typeof(OnlineSoftmax<V, T>) || typeof(E) == typeof(MaskedOnlineSoftmax<V, T>))
            {
                Online(c, ldc, e, exponent, c00, c10, c20, c30, c40, c50);
                if (N.Value > 1)
                    Online(c + V.Count, ldc, e + V.Count, exponent, c01, c11, c21, c31, c41, c51);
                if (N.Value > 2)
                    Online(c + 2 * V.Count, ldc, e + 2 * V.Count, exponent, c02, c12, c22, c32, c42, c52);
                if (N.Value > 3)
                    Online(c + 3 * V.Count, ldc, e + 3 * V.Count, exponent, c03, c13, c23, c33, c43, c53);
            }
            else
            {
                if (typeof(E) == typeof(ScoreMax<V, T>) || typeof(E) == typeof(MaskedScoreMax<V, T>))
                {
                    RaiseMax(e, c00, c10, c20, c30, c40, c50);
                    if (N.Value > 1)
                        RaiseMax(e + V.Count, c01, c11, c21, c31, c41, c51);
                    if (N.Value > 2)
                        RaiseMax(e + 2 * V.Count, c02, c12, c22, c32, c42, c52);
                    if (N.Value > 3)
                        RaiseMax(e + 3 * V.Count, c03, c13, c23, c33, c43, c53);
                }

                T* er = isColumnwise ? null : e;
                End(c, er, exponent, c00, c01, c02, c03);
                End(c + ldc, er + 1, exponent, c10, c11, c12, c13);
                End(c + 2 * ldc, er + 2, exponent, c20, c21, c22, c23);
                End(c + 3 * ldc, er + 3, exponent, c30, c31, c32, c33);
                End(c + 4 * ldc, er + 4, exponent, c40, c41, c42, c43);
                End(c + 5 * ldc, er + 5, exponent, c50, c51, c52, c53);
            }

            if (!isColumnwise)
                e += 6;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Begin(T* c, T* e, out V x0, out V x1, out V x2, out V x3)
    {
        x1 = x2 = x3 = V.Zero;
        x0 = E.Begin(V.Load(c), e);
        if (N.Value > 1)
            x1 = E.Begin(V.Load(c + V.Count), e);
        if (N.Value > 2)
            x2 = E.Begin(V.Load(c + 2 * V.Count), e);
        if (N.Value > 3)
            x3 = E.Begin(V.Load(c + 3 * V.Count), e);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void End(T* c, T* e, T* exponent, V x0, V x1, V x2, V x3)
    {
        V.Store(c, E.End(x0, c, e, exponent));
        if (N.Value > 1)
            V.Store(c + V.Count, E.End(x1, c + V.Count, e, exponent));
        if (N.Value > 2)
            V.Store(c + 2 * V.Count, E.End(x2, c + 2 * V.Count, e, exponent));
        if (N.Value > 3)
            V.Store(c + 3 * V.Count, E.End(x3, c + 3 * V.Count, e, exponent));
    }

    /// <summary>S = -inf where the mask is negative.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Mask(T* mask, ref V x0, ref V x1, ref V x2, ref V x3)
    {
        V hidden = V.Broadcast(T.NegativeInfinity);
        x0 = V.IfLess(V.Load(mask), V.Zero, hidden, x0);
        if (N.Value > 1)
            x1 = V.IfLess(V.Load(mask + V.Count), V.Zero, hidden, x1);
        if (N.Value > 2)
            x2 = V.IfLess(V.Load(mask + 2 * V.Count), V.Zero, hidden, x2);
        if (N.Value > 3)
            x3 = V.IfLess(V.Load(mask + 3 * V.Count), V.Zero, hidden, x3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void RaiseMax(T* max, V x0, V x1, V x2, V x3, V x4, V x5)
        => V.Store(max, V.Max(V.Max(V.Max(x0, x1), V.Max(x2, x3)), V.Max(V.Max(x4, x5), V.Load(max))));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Online(T* c, nint ldc, T* e, T* exponent, V x0, V x1, V x2, V x3, V x4, V x5)
    {
        RaiseMax(e + Epilogue.Stride, x0, x1, x2, x3, x4, x5);
        V m = V.Load(e), sum = V.Load(e + 2 * Epilogue.Stride);
        x0 = V.Power(x0, m, exponent);
        V.Store(c, x0);
        x1 = V.Power(x1, m, exponent);
        V.Store(c + ldc, x1);
        x2 = V.Power(x2, m, exponent);
        V.Store(c + 2 * ldc, x2);
        x3 = V.Power(x3, m, exponent);
        V.Store(c + 3 * ldc, x3);
        x4 = V.Power(x4, m, exponent);
        V.Store(c + 4 * ldc, x4);
        x5 = V.Power(x5, m, exponent);
        V.Store(c + 5 * ldc, x5);
        V.Store(e + 2 * Epilogue.Stride, V.Add(sum, V.Add(V.Add(V.Add(x0, x1), V.Add(x2, x3)), V.Add(x4, x5))));
    }
}
