using System.Numerics;

namespace TorchFlash.Kernels.Cpu.Lanes;

/// <summary>
/// Operations on a register <typeparamref name="V"/> of <typeparamref name="T"/> lanes. Every kernel is written once, generic over
/// them; the JIT compiles it anew for each width, and the abstraction leaves no trace in the machine code.
/// </summary>
/// <remarks>
/// The registers are bare Vector512, Vector256, ...: in a struct around one the JIT keeps the result of a multiply-add apart from the
/// accumulator that it replaces, which costs a move for one multiply-add in three.
/// </remarks>
internal unsafe interface ILanes<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Lanes in a register.</summary>
    static abstract int Count { get; }

    /// <summary>Registers across the register tile: 6 x this many accumulators must fit the register file.</summary>
    static abstract int TileVectors { get; }

    static abstract V Zero { get; }

    static abstract V Load(T* p);

    /// <summary>Of bfloat16; T is float.</summary>
    static abstract V LoadBFloat16(ushort* p);

    static abstract void Store(T* p, V x);

    static abstract V Broadcast(T x);

    /// <summary>a b + c, fused where the hardware does that at full speed.</summary>
    static abstract V MultiplyAdd(V a, V b, V c);

    static abstract V Add(V a, V b);

    static abstract V Subtract(V a, V b);

    static abstract V Multiply(V a, V b);

    /// <summary>The larger one; either of the two where one of them is NaN.</summary>
    static abstract V Max(V a, V b);

    /// <summary>a &lt; b ? x : y</summary>
    static abstract V IfLess(V a, V b, V x, V y);

    /// <summary>x where a word of 32 bits for each lane is at least so large, else 0.</summary>
    static abstract V IfAtLeast(int* words, int least, V x);

    /// <summary>Whether a &gt; b in any lane.</summary>
    static abstract bool AnyGreater(V a, V b);

    /// <summary>What is left of y when the nearest integer is taken off; n stands for that integer, or for what 2^y is without it.</summary>
    static abstract V Split(V y, out V n);

    /// <summary>x 2^n with the n of <see cref="Split"/>, for a y up to 64: 0 for -inf and far below the range, NaN where x or y is.</summary>
    static abstract V Scale(V x, V n);

    /// <summary>Sum over the lanes.</summary>
    static abstract T Sum(V x);
}
