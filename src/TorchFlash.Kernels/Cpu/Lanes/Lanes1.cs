using System.Numerics;
using System.Runtime.CompilerServices;

namespace TorchFlash.Kernels.Cpu.Lanes;

/// <summary>One lane: plain scalar code for processors (or settings) without vector instructions.</summary>
internal readonly unsafe struct Lanes1<T> : ILanes<T, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public static int Count => 1;

    public static int TileVectors => 4;

    public static T Zero => T.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T IfAtLeast(int* words, int least, T x) => *words >= least ? x : T.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Load(T* p) => *p;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T LoadBFloat16(ushort* p) => T.CreateTruncating(BitConverter.UInt32BitsToSingle((uint)*p << 16));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(T* p, T x) => *p = x;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Broadcast(T x) => x;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T MultiplyAdd(T a, T b, T c) => a * b + c;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Add(T a, T b) => a + b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Subtract(T a, T b) => a - b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Multiply(T a, T b) => a * b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Max(T a, T b) => a > b ? a : b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T IfLess(T a, T b, T x, T y) => a < b ? x : y;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AnyGreater(T a, T b) => a > b;

    // The whole power is the factor: no polynomial for single numbers.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Split(T y, out T n)
    {
        n = T.Exp2(y);
        return T.Zero;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static T Scale(T x, T n) => n;

    public static T Sum(T x) => x;
}
