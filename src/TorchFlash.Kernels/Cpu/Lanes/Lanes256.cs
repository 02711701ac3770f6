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

    public static int Count
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Vector256<T>.Count;
    }

    public static int TileVectors
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => 2;
    }

    public static Lanes256<T> Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector256<T>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256<T> Load(T* p) => new(Vector256.Load(p));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(T* p, Lanes256<T> x) => x._value.Store(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256<T> Broadcast(T x) => new(Vector256.Create(x));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256<T> MultiplyAdd(Lanes256<T> a, Lanes256<T> b, Lanes256<T> c) => new(typeof(T) == typeof(float)
            ? Vector256.FusedMultiplyAdd(a._value.AsSingle(), b._value.AsSingle(), c._value.AsSingle()).As<float, T>()
            : Vector256.FusedMultiplyAdd(a._value.AsDouble(), b._value.AsDouble(), c._value.AsDouble()).As<double, T>());

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

    // The bound comes first in the maximum, whose second operand passes a NaN.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256<T> Power(Lanes256<T> x, Lanes256<T> m, T* exponent)
    {
        if (typeof(T) == typeof(float))
        {
            float* t = (float*)exponent;
            Vector256<float> y = (x._value.AsSingle() - m._value.AsSingle()) * Vector256.Create(t[0]);
            y = Vector256.MaxNative(Vector256.Create(t[8]), y);
            Vector256<float> n = y + Vector256.Create(t[7]), f = y - (n - Vector256.Create(t[7]));
            Vector256<float> p = Vector256.FusedMultiplyAdd(Vector256.Create(t[1]), f, Vector256.Create(t[2]));
            p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(t[3]));
            p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(t[4]));
            p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(t[5]));
            p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(t[6]));
            return new((p * Vector256.ShiftLeft(n.AsInt32(), 23).AsSingle()).As<float, T>());
        }
        else
        {
            double* t = (double*)exponent;
            Vector256<double> y = (x._value.AsDouble() - m._value.AsDouble()) * Vector256.Create(t[0]);
            y = Vector256.MaxNative(Vector256.Create(t[14]), y);
            Vector256<double> n = y + Vector256.Create(t[13]), f = y - (n - Vector256.Create(t[13]));
            Vector256<double> p = Vector256.FusedMultiplyAdd(Vector256.Create(t[1]), f, Vector256.Create(t[2]));
            p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(t[3]));
            p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(t[4]));
            p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(t[5]));
            p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(t[6]));
            p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(t[7]));
            p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(t[8]));
            p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(t[9]));
            p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(t[10]));
            p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(t[11]));
            p = Vector256.FusedMultiplyAdd(p, f, Vector256.Create(t[12]));
            return new((p * Vector256.ShiftLeft(n.AsInt64(), 52).AsDouble()).As<double, T>());
        }
    }
}
