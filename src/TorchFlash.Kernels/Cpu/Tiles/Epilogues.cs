using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>
/// What the accumulators of a register tile start from, and what is done to them before they are stored.
/// <c>e</c> are the scalars that belong to the tile's rows (to its columns in the forward score tiles): e[0..], e[Stride..], ...
/// </summary>
internal unsafe interface IEpilogue<V, T>
    where V : unmanaged, ILanes<V, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Whether the accumulators start from <see cref="Begin"/> of C instead of 0.</summary>
    static abstract bool FromC { get; }

    /// <summary>Start value of an accumulator, from C and its row's scalar.</summary>
    static virtual V Begin(V c, T* e) => c;

    /// <summary>What is stored at c for an accumulator.</summary>
    static virtual V End(V accumulator, T* c, T* e, T* exponent) => accumulator;
}

internal static class Epilogue
{
    /// <summary>Elements from one kind of row scalar to the next; no tile has more rows.</summary>
    public const int Stride = 512;
}

/// <summary>C += A B: dV += Pᵀ dO, dK += dSᵀ Q, dQ += dS K.</summary>
internal readonly struct Accumulate<V, T> : IEpilogue<V, T>
    where V : unmanaged, ILanes<V, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public static bool FromC => true;
}

/// <summary>C = diag(e) C + A B: O = diag(2^(factor (old reference - new reference))) O + P V.</summary>
internal readonly unsafe struct RescaleAccumulate<V, T> : IEpilogue<V, T>
    where V : unmanaged, ILanes<V, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public static bool FromC => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Begin(V c, T* e) => V.Multiply(c, V.Broadcast(*e));
}

/// <summary>Sᵀ = K Qᵀ, and the column maxima e = max(e, max over rows of Sᵀ).</summary>
internal readonly struct ScoreMax<V, T> : IEpilogue<V, T>
    where V : unmanaged, ILanes<V, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public static bool FromC => false;
}

/// <summary>As <see cref="ScoreMax{V, T}"/> where the diagonal crosses the tile: -inf where the key comes after what the query may see.</summary>
internal readonly struct MaskedScoreMax<V, T> : IEpilogue<V, T>
    where V : unmanaged, ILanes<V, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public static bool FromC => false;
}

/// <summary>
/// Pᵀ = 2^(factor (K Qᵀ - e)) for column references e that are there before, exponentiated while still in registers;
/// raises the column maxima of K Qᵀ in e[Stride..] and adds the column sums of Pᵀ to e[2 Stride..].
/// </summary>
internal readonly struct OnlineSoftmax<V, T> : IEpilogue<V, T>
    where V : unmanaged, ILanes<V, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public static bool FromC => false;
}

/// <summary>As <see cref="OnlineSoftmax{V, T}"/> where the diagonal crosses the tile: 0 where the key comes after what the query may see.</summary>
internal readonly struct MaskedOnlineSoftmax<V, T> : IEpilogue<V, T>
    where V : unmanaged, ILanes<V, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public static bool FromC => false;
}

/// <summary>P = 2^(factor (Q Kᵀ - m)) / l with m = e[0..] and 1/l = e[Stride..].</summary>
internal readonly unsafe struct Probability<V, T> : IEpilogue<V, T>
    where V : unmanaged, ILanes<V, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public static bool FromC => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V End(V accumulator, T* c, T* e, T* exponent)
        => V.Multiply(V.Power(accumulator, V.Broadcast(e[0]), exponent), V.Broadcast(e[Epilogue.Stride]));
}

/// <summary>dS = P o (dO Vᵀ - e) over P in place, e = delta.</summary>
internal readonly unsafe struct ScoreGradient<V, T> : IEpilogue<V, T>
    where V : unmanaged, ILanes<V, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    public static bool FromC => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V End(V accumulator, T* c, T* e, T* exponent)
        => V.Multiply(V.Load(c), V.Subtract(accumulator, V.Broadcast(*e)));
}
