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

    public static int Count
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Vector128<T>.Count;
    }

    public static int TileVectors
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => AdvSimd.IsSupported ? 4 : 2;
    }

    public static Lanes128<T> Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector128<T>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128<T> Load(T* p) => new(Vector128.Load(p));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(T* p, Lanes128<T> x) => x._value.Store(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128<T> Broadcast(T x) => new(Vector128.Create(x));

    // Without an instruction for it a fused operation would be a call of the C library; the estimate is a b + c there.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128<T> MultiplyAdd(Lanes128<T> a, Lanes128<T> b, Lanes128<T> c) => new(typeof(T) == typeof(float)
            ? Vector128.MultiplyAddEstimate(a._value.AsSingle(), b._value.AsSingle(), c._value.AsSingle()).As<float, T>()
            : Vector128.MultiplyAddEstimate(a._value.AsDouble(), b._value.AsDouble(), c._value.AsDouble()).As<double, T>());

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

    // The bound comes first in the maximum, whose second operand passes a NaN.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128<T> Power(Lanes128<T> x, Lanes128<T> m, T* exponent)
    {
        if (typeof(T) == typeof(float))
        {
            float* t = (float*)exponent;
            Vector128<float> y = (x._value.AsSingle() - m._value.AsSingle()) * Vector128.Create(t[0]);
            y = Vector128.MaxNative(Vector128.Create(t[8]), y);
            Vector128<float> n = y + Vector128.Create(t[7]), f = y - (n - Vector128.Create(t[7]));
            Vector128<float> p = Vector128.MultiplyAddEstimate(Vector128.Create(t[1]), f, Vector128.Create(t[2]));
            p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(t[3]));
            p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(t[4]));
            p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(t[5]));
            p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(t[6]));
            return new((p * Vector128.ShiftLeft(n.AsInt32(), 23).AsSingle()).As<float, T>());
        }
        else
        {
            double* t = (double*)exponent;
            Vector128<double> y = (x._value.AsDouble() - m._value.AsDouble()) * Vector128.Create(t[0]);
            y = Vector128.MaxNative(Vector128.Create(t[14]), y);
            Vector128<double> n = y + Vector128.Create(t[13]), f = y - (n - Vector128.Create(t[13]));
            Vector128<double> p = Vector128.MultiplyAddEstimate(Vector128.Create(t[1]), f, Vector128.Create(t[2]));
            p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(t[3]));
            p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(t[4]));
            p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(t[5]));
            p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(t[6]));
            p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(t[7]));
            p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(t[8]));
            p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(t[9]));
            p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(t[10]));
            p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(t[11]));
            p = Vector128.MultiplyAddEstimate(p, f, Vector128.Create(t[12]));
            return new((p * Vector128.ShiftLeft(n.AsInt64(), 52).AsDouble()).As<double, T>());
        }
    }
}
