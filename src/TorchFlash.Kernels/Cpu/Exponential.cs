using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// How a softmax weight is made of a product q·k: 2^(factor (sign q·k - m)) with factor = log2(e) |scale| and the sign that of the
/// scale. The factor is positive, so that a maximum of sign q·k is one of the scores whatever the scale. The
/// subtraction comes first: it is exact where it matters, so that scores of any size lose nothing and one that equals m has a
/// weight of exactly 1.
/// </summary>
/// <remarks>
/// With n = round(y) and f = y - n, 2^y = p(f) 2^n, where p is minimax on [-1/2, 1/2] in the relative error with p(0) = 1 (Remez,
/// 60 digits): 9.2e-8 for float (degree 5), 3.4e-18 for double (degree 11).
/// </remarks>
internal static class Exponential
{
    private const double Log2E = 1.4426950408889634;

    /// <summary>The factor for a scale; where it would be 0 the sign is, and any factor will do.</summary>
    public static T Factor<T>(double scale) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        T factor = T.CreateChecked(Math.Abs(scale) * Log2E);
        return factor == T.Zero ? T.One : factor;
    }

    /// <summary>
    /// What a product is multiplied by before its maximum is taken: 0 for a scale of 0, and for one that moves no weight by as much as a
    /// rounding because its factor is 0 as a <typeparamref name="T"/>.
    /// </summary>
    public static T Sign<T>(double scale) where T : unmanaged, IBinaryFloatingPointIeee754<T>
        => T.CreateChecked(Math.Abs(scale) * Log2E) == T.Zero ? T.Zero : T.CreateChecked(Math.Sign(scale));

    /// <summary>2^(factor (x - m)): 0 for an x of -inf and far below the range, NaN for NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Weight<L, V, T>(V x, V m, V factor)
        where L : struct, ILanes<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        V f = L.Split(L.Multiply(L.Subtract(x, m), factor), out V n);
        return L.Scale(Polynomial<L, V, T>(f), n);
    }

    /// <summary>
    /// 2^(factor x) for four registers, in place, step by step: each is a chain of a dozen operations, of which a processor's window holds too
    /// few when they stand one behind the other.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Powers<L, V, T>(ref V x0, ref V x1, ref V x2, ref V x3, V factor)
        where L : struct, ILanes<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        V f0 = L.Split(L.Multiply(x0, factor), out V n0), f1 = L.Split(L.Multiply(x1, factor), out V n1);
        V f2 = L.Split(L.Multiply(x2, factor), out V n2), f3 = L.Split(L.Multiply(x3, factor), out V n3);
        if (typeof(T) == typeof(float))
        {
            x0 = x1 = x2 = x3 = Constant<L, V, T>(0.0013264727644223717);
            Step(ref x0, ref x1, ref x2, ref x3, 0.009671512633666614);
            Step(ref x0, ref x1, ref x2, ref x3, 0.05550733741885501);
            Step(ref x0, ref x1, ref x2, ref x3, 0.2402224208556494);
            Step(ref x0, ref x1, ref x2, ref x3, 0.6931469775998542);
            Step(ref x0, ref x1, ref x2, ref x3, 1);
        }
        else
        {
            x0 = x1 = x2 = x3 = Constant<L, V, T>(4.4347718546320375e-10);
            Step(ref x0, ref x1, ref x2, ref x3, 7.07378323927803e-09);
            Step(ref x0, ref x1, ref x2, ref x3, 1.0178199568103496e-07);
            Step(ref x0, ref x1, ref x2, ref x3, 1.3215435282359998e-06);
            Step(ref x0, ref x1, ref x2, ref x3, 1.5252733493136538e-05);
            Step(ref x0, ref x1, ref x2, ref x3, 0.00015403530457111996);
            Step(ref x0, ref x1, ref x2, ref x3, 0.0013333558146774612);
            Step(ref x0, ref x1, ref x2, ref x3, 0.00961812910759412);
            Step(ref x0, ref x1, ref x2, ref x3, 0.055504108664820084);
            Step(ref x0, ref x1, ref x2, ref x3, 0.2402265069591013);
            Step(ref x0, ref x1, ref x2, ref x3, 0.6931471805599453);
            Step(ref x0, ref x1, ref x2, ref x3, 1);
        }
        (x0, x1, x2, x3) = (L.Scale(x0, n0), L.Scale(x1, n1), L.Scale(x2, n2), L.Scale(x3, n3));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        void Step(ref V p0, ref V p1, ref V p2, ref V p3, double c)
        {
            p0 = L.MultiplyAdd(p0, f0, Constant<L, V, T>(c)); // a local variable for the constant would be a copy of its register
            p1 = L.MultiplyAdd(p1, f1, Constant<L, V, T>(c));
            p2 = L.MultiplyAdd(p2, f2, Constant<L, V, T>(c));
            p3 = L.MultiplyAdd(p3, f3, Constant<L, V, T>(c));
        }
    }

    /// <summary>2^(factor (x - m)) of single numbers.</summary>
    public static T Weight<T>(T x, T m, T factor) where T : unmanaged, IBinaryFloatingPointIeee754<T> => T.Exp2((x - m) * factor);

    /// <summary>What a score has to be divided by for it to have this factor in the exponent: a score as the passes' maxima count it.</summary>
    public static T Unscaled<T>(T score, T factor) where T : unmanaged, IBinaryFloatingPointIeee754<T> => score * T.CreateChecked(Log2E) / factor;

    /// <summary>p(f).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Polynomial<L, V, T>(V f)
        where L : struct, ILanes<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        if (typeof(T) == typeof(float))
        {
            V p = L.MultiplyAdd(Constant<L, V, T>(0.0013264727644223717), f, Constant<L, V, T>(0.009671512633666614));
            p = L.MultiplyAdd(p, f, Constant<L, V, T>(0.05550733741885501));
            p = L.MultiplyAdd(p, f, Constant<L, V, T>(0.2402224208556494));
            p = L.MultiplyAdd(p, f, Constant<L, V, T>(0.6931469775998542));
            return L.MultiplyAdd(p, f, Constant<L, V, T>(1));
        }
        else
        {
            V p = L.MultiplyAdd(Constant<L, V, T>(4.4347718546320375e-10), f, Constant<L, V, T>(7.07378323927803e-09));
            p = L.MultiplyAdd(p, f, Constant<L, V, T>(1.0178199568103496e-07));
            p = L.MultiplyAdd(p, f, Constant<L, V, T>(1.3215435282359998e-06));
            p = L.MultiplyAdd(p, f, Constant<L, V, T>(1.5252733493136538e-05));
            p = L.MultiplyAdd(p, f, Constant<L, V, T>(0.00015403530457111996));
            p = L.MultiplyAdd(p, f, Constant<L, V, T>(0.0013333558146774612));
            p = L.MultiplyAdd(p, f, Constant<L, V, T>(0.00961812910759412));
            p = L.MultiplyAdd(p, f, Constant<L, V, T>(0.055504108664820084));
            p = L.MultiplyAdd(p, f, Constant<L, V, T>(0.2402265069591013));
            p = L.MultiplyAdd(p, f, Constant<L, V, T>(0.6931471805599453));
            return L.MultiplyAdd(p, f, Constant<L, V, T>(1));
        }

    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Constant<L, V, T>(double x)
        where L : struct, ILanes<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
        => L.Broadcast(typeof(T) == typeof(float) ? (T)(object)(float)x : (T)(object)x);
}
