using System.Numerics;

namespace TorchFlash.Kernels.Tests.Assembled;

/// <summary>
/// The arithmetic of VDPBF16PS as Intel's manual defines it, exactly, without the processor's: the high elements of the pairs first, each product and
/// sum rounded once to nearest even, subnormal numbers taken and returned as zero.
/// </summary>
internal static class PairArithmetic
{
    private const int LeastExponent = -126, Bits = 24;
    private static readonly float s_farFromSmall = MathF.ScaleB(1, LeastExponent + 6);

    /// <summary>sum + x · y of two pairs, as the instruction adds them.</summary>
    public static float DotProduct(float sum, uint x, uint y) => MultiplyAdd(Low(x), Low(y), MultiplyAdd(High(x), High(y), sum));

    public static float High(uint pair) => BitConverter.UInt32BitsToSingle(pair & 0xFFFF0000);

    public static float Low(uint pair) => BitConverter.UInt32BitsToSingle(pair << 16);

    public static uint Pair(float low, float high) => BitConverter.SingleToUInt32Bits(low) >> 16 | BitConverter.SingleToUInt32Bits(high) & 0xFFFF0000;

    /// <summary>x y + z, rounded once.</summary>
    public static float MultiplyAdd(float x, float y, float z)
    {
        x = Flush(x);
        y = Flush(y);
        z = Flush(z);
        float result = MathF.FusedMultiplyAdd(x, y, z);
        // Far from where it matters what becomes of small numbers, the standard's operation is the same.
        return !(MathF.Abs(result) <= s_farFromSmall) || x == 0 || y == 0 ? result : Exact(x, y, z);
    }

    private static float Exact(float x, float y, float z)
    {
        (BigInteger mx, int ex) = Parts(x);
        (BigInteger my, int ey) = Parts(y);
        (BigInteger mz, int ez) = Parts(z);
        int exponent = Math.Min(ex + ey, ez);
        BigInteger sum = (mx * my << ex + ey - exponent) + (mz << ez - exponent);
        if (sum.IsZero)
            return 0;
        // Rounded as if there were no least exponent; what then lies below it is zero.
        int excess = (int)BigInteger.Abs(sum).GetBitLength() - Bits;
        if (excess > 0)
        {
            BigInteger one = BigInteger.One << excess, rest = BigInteger.Abs(sum) & one - 1, half = one >> 1, kept = BigInteger.Abs(sum) >> excess;
            if (rest > half || rest == half && !kept.IsEven)
                kept++;
            sum = sum.Sign * kept;
            exponent += excess;
        }
        bool small = BigInteger.Abs(sum).GetBitLength() - 1 + exponent < LeastExponent;
        return small ? MathF.CopySign(0, sum.Sign) : (float)Math.ScaleB((double)sum, exponent);
    }

    private static (BigInteger Significand, int Exponent) Parts(float x)
    {
        uint bits = BitConverter.SingleToUInt32Bits(x);
        if (x == 0)
            return (0, 0);
        int significand = (int)(bits & 0x7FFFFF | 0x800000);
        return (x < 0 ? -significand : significand, (int)(bits >> 23 & 0xFF) - 127 - 23);
    }

    private static float Flush(float x) => float.IsSubnormal(x) ? MathF.CopySign(0, x) : x;
}
