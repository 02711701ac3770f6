using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace TorchFlash.Kernels.Cpu.Lanes;

/// <summary>256-bit registers: AVX2 with FMA.</summary>
internal readonly unsafe struct Lanes256<T> : ILanes<Vector256<T>, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
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

    public static Vector256<T> Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Vector256<T>.Zero;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Load(T* p) => Vector256.Load(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> LoadBFloat16(ushort* p) => Avx2.IsSupported ? (Avx2.ConvertToVector256Int32(p) << 16).As<int, T>()
        : Vector256.Create(Lanes128<T>.LoadBFloat16(p), Lanes128<T>.LoadBFloat16(p + Vector128<float>.Count));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(T* p, Vector256<T> x) => x.Store(p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Broadcast(T x) => Vector256.Create(x);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> MultiplyAdd(Vector256<T> a, Vector256<T> b, Vector256<T> c) => typeof(T) == typeof(float)
        ? Vector256.FusedMultiplyAdd(a.AsSingle(), b.AsSingle(), c.AsSingle()).As<float, T>()
        : Vector256.FusedMultiplyAdd(a.AsDouble(), b.AsDouble(), c.AsDouble()).As<double, T>();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Add(Vector256<T> a, Vector256<T> b) => a + b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Subtract(Vector256<T> a, Vector256<T> b) => a - b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Multiply(Vector256<T> a, Vector256<T> b) => a * b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Max(Vector256<T> a, Vector256<T> b) => Vector256.MaxNative(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> IfLess(Vector256<T> a, Vector256<T> b, Vector256<T> x, Vector256<T> y) => Vector256.ConditionalSelect(Vector256.LessThan(a, b), x, y);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> IfAtLeast(int* words, int least, Vector256<T> x)
    {
        if (typeof(T) == typeof(float))
        {
            return Vector256.GreaterThanOrEqual(Vector256.Load(words), Vector256.Create(least)).As<int, T>() & x;
        }
        else
        {
            Vector128<int> mask = Vector128.GreaterThanOrEqual(Vector128.Load(words), Vector128.Create(least));
            (Vector128<long> low, Vector128<long> high) = Vector128.Widen(mask);
            return Vector256.Create(low, high).As<long, T>() & x;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AnyGreater(Vector256<T> a, Vector256<T> b) => Vector256.GreaterThanAny(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Sum(Vector256<T> x) => Vector256.Sum(x);

    // Adding 1.5 2^23 + 127 (1.5 2^52 + 1023) rounds y and leaves the nearest integer as a biased exponent in the low bits of the sum; where
    // that is 0, so is the power. The bound comes first in the maximum, whose second operand passes a NaN.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Split(Vector256<T> y, out Vector256<T> n)
    {
        Vector256<T> shift = typeof(T) == typeof(float) ? Vector256.Create(12582912f + 127).As<float, T>() : Vector256.Create(6755399441055744d + 1023).As<double, T>();
        y = Vector256.MaxNative(typeof(T) == typeof(float) ? Vector256.Create(-127f).As<float, T>() : Vector256.Create(-1023d).As<double, T>(), y);
        n = y + shift;
        return y - (n - shift);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<T> Scale(Vector256<T> x, Vector256<T> n)
        => x * (typeof(T) == typeof(float) ? Vector256.ShiftLeft(n.AsInt32(), 23).As<int, T>() : Vector256.ShiftLeft(n.AsInt64(), 52).As<long, T>());
}
