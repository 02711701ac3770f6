using System.Numerics;

namespace TorchFlash.Kernels.Cpu.Lanes;

/// <summary>
/// A register of <typeparamref name="T"/> lanes. Every kernel is written once, generic over it; the JIT compiles it anew
/// for each width, and the abstraction leaves no trace in the machine code.
/// </summary>
/// <remarks>
/// Implementations are flat, one level of calls to intrinsics: what a register tile may inline is limited by number, and a call that
/// is left in it moves the accumulators to memory.
/// </remarks>
internal unsafe interface ILanes<TSelf, T>
    where TSelf : unmanaged, ILanes<TSelf, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Lanes in a register.</summary>
    static abstract int Count { get; }

    /// <summary>Registers across the register tile: 6 x this many accumulators must fit the register file.</summary>
    static abstract int TileVectors { get; }

    static abstract TSelf Zero { get; }

    static abstract TSelf Load(T* p);

    static abstract void Store(T* p, TSelf x);

    static abstract TSelf Broadcast(T x);

    /// <summary>a b + c, fused where the hardware does that at full speed.</summary>
    static abstract TSelf MultiplyAdd(TSelf a, TSelf b, TSelf c);

    static abstract TSelf Add(TSelf a, TSelf b);

    static abstract TSelf Subtract(TSelf a, TSelf b);

    static abstract TSelf Multiply(TSelf a, TSelf b);

    /// <summary>The larger one; either of the two where one of them is NaN.</summary>
    static abstract TSelf Max(TSelf a, TSelf b);

    /// <summary>
    /// 2^(factor (x - m)) for exponents up to 64, with factor and the constants of 2^y at <paramref name="exponent"/> (see
    /// <see cref="Exponent"/>): 0 for -inf and far below the range, NaN for NaN.
    /// </summary>
    static abstract TSelf Power(TSelf x, TSelf m, T* exponent);

    /// <summary>a &lt; b ? x : y</summary>
    static abstract TSelf IfLess(TSelf a, TSelf b, TSelf x, TSelf y);

    /// <summary>Sum over the lanes.</summary>
    static abstract T Sum(TSelf x);

    /// <summary>Whether a &gt; b in any lane.</summary>
    static abstract bool AnyGreater(TSelf a, TSelf b);
}
