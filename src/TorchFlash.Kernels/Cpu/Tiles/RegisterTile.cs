using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>
/// The one register tile behind every product of the passes: 6 rows x N registers of C (+)= A B, where A(r, k) = a[r rs + k ks] is
/// broadcast and B(k, :) = b[k ldb ..] is loaded. Any A works, transposed or not (Pᵀ dO and dSᵀ Q walk P down its columns).
/// </summary>
/// <remarks>
/// A pure product: 24 accumulators, 4 registers of B and one of A are all but three of 32 registers, and whatever else is done in here is
/// paid for with accumulators in memory. They are named locals because the JIT keeps only those in registers (an array or [InlineArray]
/// costs a factor of 3). What the JIT makes of it is held by a test, which reads its listing.
/// </remarks>
internal static unsafe class RegisterTile<L, V, T, N>
    where L : struct, ILanes<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
    where N : struct, ICount
{
    /// <param name="a">A(0, 0).</param>
    /// <param name="rs">Elements from a row of A to the next.</param>
    /// <param name="ks">Elements from a column of A to the next.</param>
    /// <param name="b">B(0, 0).</param>
    /// <param name="ldb">Elements from a row of B to the next.</param>
    /// <param name="c">C(0, 0).</param>
    /// <param name="ldc">Elements from a row of C to the next.</param>
    /// <param name="depth">Columns of A, rows of B.</param>
    /// <param name="blocks">How many times six rows: A and C move on, B stays.</param>
    /// <param name="max">Raised to the largest element of every column of C as it is in the end; null: nobody asks.</param>
    /// <param name="chain">Columns of A that are summed in one go, from zero, before the sum is added to C: errors grow with the length of a chain.</param>
    /// <param name="add">Whether the first of these sums is added to C too, or stored.</param>
    [MethodImpl(Jit.Alone)]
    public static void Run(T* a, nint rs, nint ks, T* b, nint ldb, T* c, nint ldc, nint depth, nint chain, int blocks, bool add, T* max)
    {
        nint rs2 = 2 * rs;
        for (; blocks > 0; blocks--, a += 6 * rs, c += 6 * ldc)
        {
            T* p = a, q = a + 3 * rs, bk = b;
            bool adds = add;
            for (nint left = depth; left > 0; left -= chain, adds = true)
            {
                V c00 = L.Zero, c01 = L.Zero, c02 = L.Zero, c03 = L.Zero;
                V c10 = L.Zero, c11 = L.Zero, c12 = L.Zero, c13 = L.Zero;
                V c20 = L.Zero, c21 = L.Zero, c22 = L.Zero, c23 = L.Zero;
                V c30 = L.Zero, c31 = L.Zero, c32 = L.Zero, c33 = L.Zero;
                V c40 = L.Zero, c41 = L.Zero, c42 = L.Zero, c43 = L.Zero;
                V c50 = L.Zero, c51 = L.Zero, c52 = L.Zero, c53 = L.Zero;
                V b0, b1 = L.Zero, b2 = L.Zero, b3 = L.Zero, t;
                for (nint k = Math.Min(left, chain); k > 0; k--)
                {
                    b0 = L.Load(bk);
                    if (N.Value > 1)
                        b1 = L.Load(bk + L.Count);
                    if (N.Value > 2)
                        b2 = L.Load(bk + 2 * L.Count);
                    if (N.Value > 3)
                        b3 = L.Load(bk + 3 * L.Count);
                    bk += ldb;
                    t = L.Broadcast(p[0]);
                    c00 = L.MultiplyAdd(t, b0, c00);
                    if (N.Value > 1)
                        c01 = L.MultiplyAdd(t, b1, c01);
                    if (N.Value > 2)
                        c02 = L.MultiplyAdd(t, b2, c02);
                    if (N.Value > 3)
                        c03 = L.MultiplyAdd(t, b3, c03);
                    t = L.Broadcast(p[rs]);
                    c10 = L.MultiplyAdd(t, b0, c10);
                    if (N.Value > 1)
                        c11 = L.MultiplyAdd(t, b1, c11);
                    if (N.Value > 2)
                        c12 = L.MultiplyAdd(t, b2, c12);
                    if (N.Value > 3)
                        c13 = L.MultiplyAdd(t, b3, c13);
                    t = L.Broadcast(p[rs2]);
                    c20 = L.MultiplyAdd(t, b0, c20);
                    if (N.Value > 1)
                        c21 = L.MultiplyAdd(t, b1, c21);
                    if (N.Value > 2)
                        c22 = L.MultiplyAdd(t, b2, c22);
                    if (N.Value > 3)
                        c23 = L.MultiplyAdd(t, b3, c23);
                    t = L.Broadcast(q[0]);
                    c30 = L.MultiplyAdd(t, b0, c30);
                    if (N.Value > 1)
                        c31 = L.MultiplyAdd(t, b1, c31);
                    if (N.Value > 2)
                        c32 = L.MultiplyAdd(t, b2, c32);
                    if (N.Value > 3)
                        c33 = L.MultiplyAdd(t, b3, c33);
                    t = L.Broadcast(q[rs]);
                    c40 = L.MultiplyAdd(t, b0, c40);
                    if (N.Value > 1)
                        c41 = L.MultiplyAdd(t, b1, c41);
                    if (N.Value > 2)
                        c42 = L.MultiplyAdd(t, b2, c42);
                    if (N.Value > 3)
                        c43 = L.MultiplyAdd(t, b3, c43);
                    t = L.Broadcast(q[rs2]);
                    c50 = L.MultiplyAdd(t, b0, c50);
                    if (N.Value > 1)
                        c51 = L.MultiplyAdd(t, b1, c51);
                    if (N.Value > 2)
                        c52 = L.MultiplyAdd(t, b2, c52);
                    if (N.Value > 3)
                        c53 = L.MultiplyAdd(t, b3, c53);
                    p += ks;
                    q += ks;
                }
                if (adds)
                {
                    Add(c, ref c00, ref c01, ref c02, ref c03);
                    Add(c + ldc, ref c10, ref c11, ref c12, ref c13);
                    Add(c + 2 * ldc, ref c20, ref c21, ref c22, ref c23);
                    Add(c + 3 * ldc, ref c30, ref c31, ref c32, ref c33);
                    Add(c + 4 * ldc, ref c40, ref c41, ref c42, ref c43);
                    Add(c + 5 * ldc, ref c50, ref c51, ref c52, ref c53);
                }
                Store(c, c00, c01, c02, c03);
                Store(c + ldc, c10, c11, c12, c13);
                Store(c + 2 * ldc, c20, c21, c22, c23);
                Store(c + 3 * ldc, c30, c31, c32, c33);
                Store(c + 4 * ldc, c40, c41, c42, c43);
                Store(c + 5 * ldc, c50, c51, c52, c53);
                if (max != null && left <= chain)
                {
                    Raise(max, c00, c10, c20, c30, c40, c50);
                    if (N.Value > 1)
                        Raise(max + L.Count, c01, c11, c21, c31, c41, c51);
                    if (N.Value > 2)
                        Raise(max + 2 * L.Count, c02, c12, c22, c32, c42, c52);
                    if (N.Value > 3)
                        Raise(max + 3 * L.Count, c03, c13, c23, c33, c43, c53);
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(T* c, V x0, V x1, V x2, V x3)
    {
        L.Store(c, x0);
        if (N.Value > 1)
            L.Store(c + L.Count, x1);
        if (N.Value > 2)
            L.Store(c + 2 * L.Count, x2);
        if (N.Value > 3)
            L.Store(c + 3 * L.Count, x3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(T* c, ref V x0, ref V x1, ref V x2, ref V x3)
    {
        x0 = L.Add(L.Load(c), x0);
        if (N.Value > 1)
            x1 = L.Add(L.Load(c + L.Count), x1);
        if (N.Value > 2)
            x2 = L.Add(L.Load(c + 2 * L.Count), x2);
        if (N.Value > 3)
            x3 = L.Add(L.Load(c + 3 * L.Count), x3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Raise(T* max, V x0, V x1, V x2, V x3, V x4, V x5)
        => L.Store(max, L.Max(L.Max(L.Max(L.Load(max), x0), L.Max(x1, x2)), L.Max(L.Max(x3, x4), x5)));
}

/// <summary>A number known to the JIT.</summary>
internal interface ICount
{
    static abstract int Value { get; }
}

internal readonly struct One : ICount
{
    public static int Value => 1;
}

internal readonly struct Two : ICount
{
    public static int Value => 2;
}

internal readonly struct Three : ICount
{
    public static int Value => 3;
}

internal readonly struct Four : ICount
{
    public static int Value => 4;
}
