using System.Numerics;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// How a softmax weight is made of a product q·k: 2^(Factor (Sign q·k - m)). The factor is positive, so that a maximum of
/// Sign q·k is one of the scores whatever the sign of the scale; a scale of 0 goes into Sign.
/// </summary>
internal readonly struct Exponent<T>(double scale)
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private const double Log2E = 1.4426950408889634;

    public readonly T Sign = T.CreateChecked(Math.Sign(scale));

    public readonly T Factor = scale == 0 ? T.One : T.CreateChecked(Math.Abs(scale) * Log2E);

    /// <summary>Largest finite number: its negative starts maxima, so that a difference of two of them is no NaN.</summary>
    public readonly T Highest = T.BitDecrement(T.PositiveInfinity);
}
