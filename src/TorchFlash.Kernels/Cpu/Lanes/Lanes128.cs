using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;

namespace TorchFlash.Kernels.Cpu.Lanes;

/// <summary>128-bit registers: NEON (32 of them), or SSE where there is nothing wider (16).</summary>
internal readonly unsafe struct Lanes128<T> : ILanes<Lanes128<T>, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly Vector128<T> _value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Lanes128(Vector128<T> value) => _value = value;

    public static int Count => Vector128<T>.Count;

    public static int TileVectors => AdvSimd.IsSupported ? 4 : 2;

    public static Lanes128<T> Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector128<T>.Zero);
    }

    public static Lanes128<T> Indices
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector128<T>.Indices);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128<T> Load(T* p) => new(Vector128.Load(p));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(T* p, Lanes128<T> x) => x._value.Store(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128<T> Broadcast(T x) => new(Vector128.Create(x));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128<T> MultiplyAdd(Lanes128<T> a, Lanes128<T> b, Lanes128<T> c) => new(MultiplyAdd(a._value, b._value, c._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128<T> Add(Lanes128<T> a, Lanes128<T> b) => new(a._value + b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128<T> Subtract(Lanes128<T> a, Lanes128<T> b) => new(a._value - b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128<T> Multiply(Lanes128<T> a, Lanes128<T> b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128<T> Max(Lanes128<T> a, Lanes128<T> b) => new(Vector128.MaxNative(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128<T> IfLess(Lanes128<T> a, Lanes128<T> b, Lanes128<T> x, Lanes128<T> y)
        => new(Vector128.ConditionalSelect(Vector128.LessThan(a._value, b._value), x._value, y._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Sum(Lanes128<T> x) => Vector128.Sum(x._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AnyGreater(Lanes128<T> a, Lanes128<T> b) => Vector128.GreaterThanAny(a._value, b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128<T> Exp2(Lanes128<T> x)
        => typeof(T) == typeof(float) ? new(Exp2(x._value.AsSingle()).As<float, T>()) : new(Exp2(x._value.AsDouble()).As<double, T>());

    // 2^x = p(x - n) 2^n with n = round(x), which stands in the low bits of x + 1.5 2^23 and is shifted into an exponent field;
    // n = -127 makes that field 0. The bound comes first in the maximum, whose second operand passes a NaN.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Exp2(Vector128<float> x)
    {
        Vector128<float> magic = Vector128.Create(12582912f);
        x = Vector128.MinNative(Vector128.Create(128f), Vector128.MaxNative(Vector128.Create(-127f), x));
        Vector128<float> n = x + magic;
        Vector128<int> power = Vector128.ShiftLeft(n.AsInt32() + Vector128.Create(127), 23);
        return Polynomial(x - (n - magic)) * power.AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<double> Exp2(Vector128<double> x)
    {
        Vector128<double> magic = Vector128.Create(6755399441055744.0); // 1.5 2^52
        x = Vector128.MinNative(Vector128.Create(1024.0), Vector128.MaxNative(Vector128.Create(-1023.0), x));
        Vector128<double> n = x + magic;
        Vector128<long> power = Vector128.ShiftLeft(n.AsInt64() + Vector128.Create(1023L), 52);
        return Polynomial(x - (n - magic)) * power.AsDouble();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Polynomial(Vector128<float> f)
    {
        Vector128<float> p = Vector128.MultiplyAddEstimate(Vector128.Create(Exp2Polynomial.Single.C5), f, Vector128.Create(Exp2Polynomial.Single.C4));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.Single.C3));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.Single.C2));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.Single.C1));
        return Vector128.MultiplyAddEstimate(p, f, Vector128<float>.One);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<double> Polynomial(Vector128<double> f)
    {
        Vector128<double> p = Vector128.MultiplyAddEstimate(Vector128.Create(Exp2Polynomial.Double.C11), f, Vector128.Create(Exp2Polynomial.Double.C10));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.Double.C9));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.Double.C8));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.Double.C7));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.Double.C6));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.Double.C5));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.Double.C4));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.Double.C3));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.Double.C2));
        p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(Exp2Polynomial.Double.C1));
        return Vector128.MultiplyAddEstimate(p, f, Vector128<double>.One);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<T> MultiplyAdd(Vector128<T> a, Vector128<T> b, Vector128<T> c)
    {
        // Without an instruction for it a fused operation would be a call of the C library; the estimate is a b + c there.
        return typeof(T) == typeof(float)
            ? Vector128.MultiplyAddEstimate(a.AsSingle(), b.AsSingle(), c.AsSingle()).As<float, T>()
            : Vector128.MultiplyAddEstimate(a.AsDouble(), b.AsDouble(), c.AsDouble()).As<double, T>();
    }
}
