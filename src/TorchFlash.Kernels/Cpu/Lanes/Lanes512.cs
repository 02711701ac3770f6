using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace TorchFlash.Kernels.Cpu.Lanes;

/// <summary>512-bit registers: AVX-512 (F, DQ).</summary>
internal readonly unsafe struct Lanes512<T> : ILanes<Lanes512<T>, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly Vector512<T> _value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Lanes512(Vector512<T> value) => _value = value;

    public static int Count
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Vector512<T>.Count;
    }

    public static int TileVectors
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => 4;
    }

    public static Lanes512<T> Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector512<T>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512<T> Load(T* p) => new(Vector512.Load(p));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(T* p, Lanes512<T> x) => x._value.Store(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512<T> Broadcast(T x) => new(Vector512.Create(x));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512<T> MultiplyAdd(Lanes512<T> a, Lanes512<T> b, Lanes512<T> c) => new(typeof(T) == typeof(float)
            ? Vector512.FusedMultiplyAdd(a._value.AsSingle(), b._value.AsSingle(), c._value.AsSingle()).As<float, T>()
            : Vector512.FusedMultiplyAdd(a._value.AsDouble(), b._value.AsDouble(), c._value.AsDouble()).As<double, T>());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512<T> Add(Lanes512<T> a, Lanes512<T> b) => new(a._value + b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512<T> Subtract(Lanes512<T> a, Lanes512<T> b) => new(a._value - b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512<T> Multiply(Lanes512<T> a, Lanes512<T> b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512<T> Max(Lanes512<T> a, Lanes512<T> b) => new(Vector512.MaxNative(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512<T> IfLess(Lanes512<T> a, Lanes512<T> b, Lanes512<T> x, Lanes512<T> y)
        => new(Vector512.ConditionalSelect(Vector512.LessThan(a._value, b._value), x._value, y._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Sum(Lanes512<T> x) => Vector512.Sum(x._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AnyGreater(Lanes512<T> a, Lanes512<T> b) => Vector512.GreaterThanAny(a._value, b._value);

    // VREDUCE gives y - n (0 for infinities), VSCALEF multiplies by 2^n for every n.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512<T> Power(Lanes512<T> x, Lanes512<T> m, T* exponent)
    {
        if (typeof(T) == typeof(float))
        {
            float* t = (float*)exponent;
            Vector512<float> y = (x._value.AsSingle() - m._value.AsSingle()) * Vector512.Create(t[0]);
            Vector512<float> n = Avx512F.RoundScale(y, Nearest), f = Avx512DQ.Reduce(y, Nearest);
            Vector512<float> p = Vector512.FusedMultiplyAdd(Vector512.Create(t[1]), f, Vector512.Create(t[2]));
            p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(t[3]));
            p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(t[4]));
            p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(t[5]));
            p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(t[6]));
            return new(Avx512F.Scale(p, n).As<float, T>());
        }
        else
        {
            double* t = (double*)exponent;
            Vector512<double> y = (x._value.AsDouble() - m._value.AsDouble()) * Vector512.Create(t[0]);
            Vector512<double> n = Avx512F.RoundScale(y, Nearest), f = Avx512DQ.Reduce(y, Nearest);
            Vector512<double> p = Vector512.FusedMultiplyAdd(Vector512.Create(t[1]), f, Vector512.Create(t[2]));
            p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(t[3]));
            p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(t[4]));
            p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(t[5]));
            p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(t[6]));
            p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(t[7]));
            p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(t[8]));
            p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(t[9]));
            p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(t[10]));
            p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(t[11]));
            p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(t[12]));
            return new(Avx512F.Scale(p, n).As<double, T>());
        }
    }

    /// <summary>Immediate of VREDUCE and VRNDSCALE: to a multiple of 2^0, ties to even, no exception flags.</summary>
    private const byte Nearest = 0x08;
}
