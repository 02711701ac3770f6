using System.Numerics;
using System.Runtime.CompilerServices;

namespace TorchFlash.Kernels.Cpu.Lanes;

/// <summary>One lane: plain scalar code for processors (or settings) without vector instructions.</summary>
internal readonly unsafe struct Lanes1<T> : ILanes<Lanes1<T>, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly T _value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Lanes1(T value) => _value = value;

    public static int Count => 1;

    public static int TileVectors => 2;

    public static Lanes1<T> Zero => default;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1<T> Load(T* p) => new(*p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(T* p, Lanes1<T> x) => *p = x._value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1<T> Broadcast(T x) => new(x);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1<T> MultiplyAdd(Lanes1<T> a, Lanes1<T> b, Lanes1<T> c) => new(a._value * b._value + c._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1<T> Add(Lanes1<T> a, Lanes1<T> b) => new(a._value + b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1<T> Subtract(Lanes1<T> a, Lanes1<T> b) => new(a._value - b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1<T> Multiply(Lanes1<T> a, Lanes1<T> b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1<T> Max(Lanes1<T> a, Lanes1<T> b) => a._value > b._value ? a : b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1<T> IfLess(Lanes1<T> a, Lanes1<T> b, Lanes1<T> x, Lanes1<T> y) => a._value < b._value ? x : y;

    public static T Sum(Lanes1<T> x) => x._value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AnyGreater(Lanes1<T> a, Lanes1<T> b) => a._value > b._value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes1<T> Power(Lanes1<T> x, Lanes1<T> m, T* exponent) => new(T.Exp2((x._value - m._value) * exponent[0]));
}
