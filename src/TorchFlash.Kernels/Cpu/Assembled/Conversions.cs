using System.ComponentModel;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace TorchFlash.Kernels.Cpu.Assembled;

/// <summary>
/// Rows of 16-bit elements from and to float by the processor's own instructions, assembled at first use where it has them; they are checked against
/// the conversions in C# before that. <see cref="PairTile.Switch"/> turns them off.
/// </summary>
internal sealed unsafe class Conversions
{
    /// <summary>Elements a call: a microsecond, for which a garbage collection may have to wait.</summary>
    private const int MostOfCall = 1 << 14;

    private static readonly Lazy<Conversions?> s_widenFloat16 = new(() => Load(HasF16C, windows => ConversionCode.WidenFloat16(windows, Avx512F.IsSupported), ChecksWidening));
    private static readonly Lazy<Conversions?> s_narrowFloat16 = new(() => Load(HasF16C, windows => ConversionCode.NarrowFloat16(windows, Avx512F.IsSupported), ChecksNarrowing));
    private static readonly Lazy<Conversions?> s_round = new(() => Load(PairTile.Instance.Refusal is null, ConversionCode.Round, ChecksRounding));
    private static readonly Lazy<Conversions?> s_roundPairs = new(() => Load(PairTile.Instance.Refusal is null && Avx512BW.IsSupported, ConversionCode.RoundPairs, ChecksPairs));

    private readonly delegate* unmanaged[Cdecl, SuppressGCTransition]<void*, void*, void*, nint, void> _code;

    private Conversions(byte* code) => _code = (delegate* unmanaged[Cdecl, SuppressGCTransition]<void*, void*, void*, nint, void>)code;

    /// <summary>float16 to float; null where there is no such routine.</summary>
    public static Conversions? WidenFloat16 => s_widenFloat16.Value;

    /// <summary>float to float16.</summary>
    public static Conversions? NarrowFloat16 => s_narrowFloat16.Value;

    /// <summary>float to bfloat16.</summary>
    public static Conversions? Rounding => s_round.Value;

    /// <summary>Two rows of float to pairs of bfloat16.</summary>
    public static Conversions? PairRounding => s_roundPairs.Value;

    /// <summary>A routine of one row; see <see cref="ConversionCode"/>.</summary>
    public void Run<TFrom, TTo>(TFrom* from, TTo* to, int n, float* factor = null) where TFrom : unmanaged where TTo : unmanaged
    {
        for (int x = 0; x < n; x += MostOfCall)
            _code(from + x, factor, to + x, Math.Min(MostOfCall, n - x));
    }

    /// <summary>The routine of two rows, shorter ones.</summary>
    public void Run(float* low, float* high, uint* to, int n) => _code(low, high, to, n);

    private static bool HasF16C => Avx2.IsSupported && (X86Base.CpuId(1, 0).Ecx & 1 << 29) != 0;

    private static Conversions? Load(bool isSupported, Func<bool, byte[]> code, Func<Conversions, bool> check)
    {
        if (!isSupported || RuntimeInformation.ProcessArchitecture != Architecture.X64 || Environment.GetEnvironmentVariable(PairTile.Switch) == "0")
            return null;
        try
        {
            var conversions = new Conversions(ExecutablePages.Load(code(OperatingSystem.IsWindows())));
            return check(conversions) ? conversions : null;
        }
        catch (Win32Exception)
        {
            return null; // PairTile says so.
        }
    }

    /// <summary>Every pattern.</summary>
    private static bool ChecksWidening(Conversions conversions)
    {
        ushort[] from = [.. Enumerable.Range(0, 1 << 16).Select(bits => (ushort)bits)];
        float[] to = new float[from.Length];
        fixed (ushort* f = from)
        fixed (float* t = to)
            conversions.Run(f, t, from.Length);
        return from.Zip(to).All(x => ((float)BitConverter.UInt16BitsToHalf(x.First)).Equals(x.Second));
    }

    /// <summary>Every result, and numbers between.</summary>
    private static bool ChecksNarrowing(Conversions conversions)
    {
        float factor = 2;
        float[] from = [.. Enumerable.Range(0, 1 << 16).Select(bits => BitConverter.UInt32BitsToSingle((uint)bits << 16 | 0x1000))];
        ushort[] to = new ushort[from.Length];
        fixed (float* f = from)
        fixed (ushort* t = to)
            conversions.Run(f, t, from.Length, &factor);
        return from.Zip(to).All(x => ((Half)(2 * x.First)).Equals(BitConverter.UInt16BitsToHalf(x.Second)));
    }

    private static bool ChecksRounding(Conversions conversions)
    {
        float[] from = Samples;
        ushort[] to = new ushort[from.Length];
        fixed (float* f = from)
        fixed (ushort* t = to)
            conversions.Run(f, t, from.Length);
        return from.Zip(to).All(x => IsRounded(x.First, x.Second));
    }

    private static bool ChecksPairs(Conversions conversions)
    {
        float[] low = Samples, high = [.. Samples.Reverse()];
        uint[] to = new uint[low.Length];
        fixed (float* l = low, h = high)
        fixed (uint* t = to)
            conversions.Run(l, h, t, low.Length);
        return Enumerable.Range(0, low.Length).All(k => IsRounded(low[k], (ushort)to[k]) && IsRounded(high[k], (ushort)(to[k] >> 16)));
    }

    /// <summary>Halfway between neighbours, beside that, and what is no number.</summary>
    private static float[] Samples => [.. Enumerable.Range(0, 64).Select(k => BitConverter.UInt32BitsToSingle(0x3F7F8000u + (uint)k * 0x7FFF)),
        0, -0f, 1, float.MaxValue, float.PositiveInfinity, float.NegativeInfinity, float.NaN, 1e-30f, .. new float[8]];

    private static bool IsRounded(float value, ushort bits)
    {
        uint x = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? (bits & 0x7FFF) > 0x7F80 : bits == x + (x >> 16 & 1) + 0x7FFF >> 16;
    }
}
