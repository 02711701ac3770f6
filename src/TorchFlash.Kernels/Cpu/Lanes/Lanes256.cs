using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace TorchFlash.Kernels.Cpu.Lanes;

/// <summary>256-bit registers: AVX2 with FMA.</summary>
internal readonly unsafe struct Lanes256<T> : ILanes<Lanes256<T>, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly Vector256<T> _value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Lanes256(Vector256<T> value) => _value = value;

    public static int Count => Vector256<T>.Count;

    public static int TileVectors => 2;

    public static Lanes256<T> Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector256<T>.Zero);
    }

    public static Lanes256<T> Indices
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector256<T>.Indices);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256<T> Load(T* p) => new(Vector256.Load(p));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(T* p, Lanes256<T> x) => x._value.Store(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256<T> Broadcast(T x) => new(Vector256.Create(x));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256<T> MultiplyAdd(Lanes256<T> a, Lanes256<T> b, Lanes256<T> c) => new(MultiplyAdd(a._value, b._value, c._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256<T> Add(Lanes256<T> a, Lanes256<T> b) => new(a._value + b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256<T> Subtract(Lanes256<T> a, Lanes256<T> b) => new(a._value - b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256<T> Multiply(Lanes256<T> a, Lanes256<T> b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256<T> Max(Lanes256<T> a, Lanes256<T> b) => new(Vector256.MaxNative(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256<T> IfLess(Lanes256<T> a, Lanes256<T> b, Lanes256<T> x, Lanes256<T> y)
        => new(Vector256.ConditionalSelect(Vector256.LessThan(a._value, b._value), x._value, y._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Sum(Lanes256<T> x) => Vector256.Sum(x._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AnyGreater(Lanes256<T> a, Lanes256<T> b) => Vector256.GreaterThanAny(a._value, b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256<T> Exp2(Lanes256<T> x)
        => typeof(T) == typeof(float) ? new(Exp2(x._value.AsSingle()).As<float, T>()) : new(Exp2(x._value.AsDouble()).As<double, T>());

    // 2^x = p(x - n) 2^n with n = round(x), which stands in the low bits of x + 1.5 2^23 and is shifted into an exponent field;
    // n = -127 makes that field 0. The bound comes first in the maximum, whose second operand passes a NaN.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Exp2(Vector256<float> x)
    {
        Vector256<float> magic = Vector256.Create(12582912f);
        x = Vector256.MinNative(Vector256.Create(128f), Vector256.MaxNative(Vector256.Create(-127f), x));
        Vector256<float> n = x + magic;
        Vector256<int> power = Vector256.ShiftLeft(n.AsInt32() + Vector256.Create(127), 23);
        return Polynomial(x - (n - magic)) * power.AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<double> Exp2(Vector256<double> x)
    {
        Vector256<double> magic = Vector256.Create(6755399441055744.0); // 1.5 2^52
        x = Vector256.MinNative(Vector256.Create(1024.0), Vector256.MaxNative(Vector256.Create(-1023.0), x));
        Vector256<double> n = x + magic;
        Vector256<long> power = Vector256.ShiftLeft(n.AsInt64() + Vector256.Create(1023L), 52);
        return Polynomial(x - (n - magic)) * power.AsDouble();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Polynomial(Vector256<float> f)
    {
        Vector256<float> p = Vector256.FusedMultiplyAdd(Vector256.Create(Exp2Polynomial.Single.C5), f, Vector256.Create(Exp2Polynomial.Single.C4));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.Single.C3));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.Single.C2));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.Single.C1));
        return Vector256.FusedMultiplyAdd(p, f, Vector256<float>.One);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<double> Polynomial(Vector256<double> f)
    {
        Vector256<double> p = Vector256.FusedMultiplyAdd(Vector256.Create(Exp2Polynomial.Double.C11), f, Vector256.Create(Exp2Polynomial.Double.C10));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.Double.C9));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.Double.C8));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.Double.C7));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.Double.C6));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.Double.C5));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.Double.C4));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.Double.C3));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.Double.C2));
        p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(Exp2Polynomial.Double.C1));
        return Vector256.FusedMultiplyAdd(p, f, Vector256<double>.One);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<T> MultiplyAdd(Vector256<T> a, Vector256<T> b, Vector256<T> c)
    {
        return typeof(T) == typeof(float)
            ? Vector256.FusedMultiplyAdd(a.AsSingle(), b.AsSingle(), c.AsSingle()).As<float, T>()
            : Vector256.FusedMultiplyAdd(a.AsDouble(), b.AsDouble(), c.AsDouble()).As<double, T>();
    }
}
