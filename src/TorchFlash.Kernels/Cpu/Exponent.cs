using System.Numerics;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// How a softmax weight is made of a product q·k: 2^(factor (sign q·k - m)) with factor = log2(e) |scale| and the sign that of the
/// scale (0 for a scale of 0). The factor is positive, so that a maximum of sign q·k is one of the scores whatever the scale. The
/// subtraction comes first: it is exact where it matters, so that scores of any size lose nothing and one that equals m has a
/// weight of exactly 1.
/// </summary>
/// <remarks>
/// With n = round(y) and f = y - n, 2^y = p(f) 2^n, where p is minimax on [-1/2, 1/2] in the relative error with p(0) = 1 (Remez,
/// 60 digits): 9.2e-8 for float (degree 5), 3.4e-18 for double (degree 11).
/// <para>
/// The constants are read from memory where they are used. As constants in the code they would be kept in registers, which the 24
/// accumulators of a register tile do not leave: the JIT then spills accumulators inside the innermost loop, at twice the time.
/// </para>
/// </remarks>
internal static unsafe class Exponent
{
    private const double Log2E = 1.4426950408889634;

    /// <summary>
    /// After the factor: the coefficients of p, the highest first; 1.5 2^23 + 127, which leaves n as a biased exponent in the low
    /// bits of its sum with y; the y whose exponent field is 0, where 2^y is 0.
    /// </summary>
    private static ReadOnlySpan<double> Single =>
    [
        0.0013264727644223717, 0.009671512633666614, 0.05550733741885501, 0.2402224208556494, 0.6931469775998542, 1,
        12582912 + 127, -127,
    ];

    /// <summary>The same for double, with 1.5 2^52 + 1023.</summary>
    private static ReadOnlySpan<double> Double =>
    [
        4.4347718546320375e-10, 7.07378323927803e-09, 1.0178199568103496e-07, 1.3215435282359998e-06, 1.5252733493136538e-05,
        0.00015403530457111996, 0.0013333558146774612, 0.00961812910759412, 0.055504108664820084, 0.2402265069591013,
        0.6931471805599453, 1,
        6755399441055744 + 1023, -1023,
    ];

    private static ReadOnlySpan<double> Table<T>() => typeof(T) == typeof(float) ? Single : Double;

    /// <summary>Elements that <see cref="Write"/> writes.</summary>
    public static int Length<T>() where T : unmanaged, IBinaryFloatingPointIeee754<T> => 1 + Table<T>().Length;

    /// <summary>Writes the constants of the exponential for a scale.</summary>
    public static T* Write<T>(T* to, double scale) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        to[0] = scale == 0 ? T.One : T.CreateChecked(Math.Abs(scale) * Log2E);
        for (int i = 0; i < Table<T>().Length; i++)
            to[1 + i] = T.CreateChecked(Table<T>()[i]);
        return to;
    }

    /// <summary>What a product is multiplied by before its maximum is taken.</summary>
    public static T Sign<T>(double scale) where T : unmanaged, IBinaryFloatingPointIeee754<T> => T.CreateChecked(Math.Sign(scale));
}
