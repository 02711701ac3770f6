using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;

namespace TorchFlash.Kernels.Cpu.Lanes;

/// <summary>128-bit registers: NEON (32 of them), or SSE where there is nothing wider (16).</summary>
internal readonly unsafe struct Lanes128<T> : ILanes<Vector128<T>, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
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

    public static Vector128<T> Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Vector128<T>.Zero;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Load(T* p) => Vector128.Load(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> LoadBFloat16(ushort* p) => (Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(ulong*)p).AsUInt16()) << 16).As<uint, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(T* p, Vector128<T> x) => x.Store(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Broadcast(T x) => Vector128.Create(x);

    // Without an instruction for it a fused operation would be a call of the C library; the estimate is a b + c there.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> MultiplyAdd(Vector128<T> a, Vector128<T> b, Vector128<T> c) => typeof(T) == typeof(float)
        ? Vector128.MultiplyAddEstimate(a.AsSingle(), b.AsSingle(), c.AsSingle()).As<float, T>()
        : Vector128.MultiplyAddEstimate(a.AsDouble(), b.AsDouble(), c.AsDouble()).As<double, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Add(Vector128<T> a, Vector128<T> b) => a + b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Subtract(Vector128<T> a, Vector128<T> b) => a - b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Multiply(Vector128<T> a, Vector128<T> b) => a * b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Max(Vector128<T> a, Vector128<T> b) => Vector128.MaxNative(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> IfLess(Vector128<T> a, Vector128<T> b, Vector128<T> x, Vector128<T> y) => Vector128.ConditionalSelect(Vector128.LessThan(a, b), x, y);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> IfAtLeast(int* words, int least, Vector128<T> x)
    {
        if (typeof(T) == typeof(float))
        {
            return Vector128.GreaterThanOrEqual(Vector128.Load(words), Vector128.Create(least)).As<int, T>() & x;
        }
        else
        {
            return Vector128.Create(words[0] >= least ? -1L : 0, words[1] >= least ? -1L : 0).As<long, T>() & x;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AnyGreater(Vector128<T> a, Vector128<T> b) => Vector128.GreaterThanAny(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Sum(Vector128<T> x) => Vector128.Sum(x);

    // Adding 1.5 2^23 + 127 (1.5 2^52 + 1023) rounds y and leaves the nearest integer as a biased exponent in the low bits of the sum; where
    // that is 0, so is the power. The bound comes first in the maximum, whose second operand passes a NaN.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Split(Vector128<T> y, out Vector128<T> n)
    {
        Vector128<T> shift = typeof(T) == typeof(float) ? Vector128.Create(12582912f + 127).As<float, T>() : Vector128.Create(6755399441055744d + 1023).As<double, T>();
        y = Vector128.MaxNative(typeof(T) == typeof(float) ? Vector128.Create(-127f).As<float, T>() : Vector128.Create(-1023d).As<double, T>(), y);
        n = y + shift;
        return y - (n - shift);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<T> Scale(Vector128<T> x, Vector128<T> n)
        => x * (typeof(T) == typeof(float) ? Vector128.ShiftLeft(n.AsInt32(), 23).As<int, T>() : Vector128.ShiftLeft(n.AsInt64(), 52).As<long, T>());
}
