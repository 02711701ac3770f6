using System.ComponentModel;
using System.Runtime.CompilerServices;
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

    private static readonly Lazy<Routine> s_widenFloat16 = new(() => LoadWidening(Setting));
    private static readonly Lazy<Routine> s_narrowFloat16 = new(() => LoadNarrowing(Setting));
    private static readonly Lazy<Routine> s_round = new(() => Load(PairTile.Instance.Refusal, ConversionCode.Round, ChecksRounding));
    private static readonly Lazy<Routine> s_roundPairs = new(() => Load(PairTile.Instance.Refusal ?? (Avx512BW.IsSupported ? null : "no AVX512-BW"), ConversionCode.RoundPairs, ChecksPairs));

    private readonly delegate* unmanaged[Cdecl, SuppressGCTransition]<void*, void*, void*, nint, void> _code;

    private Conversions(byte* code) => _code = (delegate* unmanaged[Cdecl, SuppressGCTransition]<void*, void*, void*, nint, void>)code;

    /// <summary>float16 to float; null where there is no such routine.</summary>
    public static Conversions? WidenFloat16 => s_widenFloat16.Value.Code;

    /// <summary>float to float16.</summary>
    public static Conversions? NarrowFloat16 => s_narrowFloat16.Value.Code;

    /// <summary>float to bfloat16.</summary>
    public static Conversions? Rounding => s_round.Value.Code;

    /// <summary>Two rows of float to pairs of bfloat16.</summary>
    public static Conversions? PairRounding => s_roundPairs.Value.Code;

    /// <summary>What is in use, or why nothing is.</summary>
    public static string Describe() => Describe(s_widenFloat16.Value.Refusal ?? s_narrowFloat16.Value.Refusal);

    internal static string Describe(string? refusal) => refusal is null ? "float16 converted by assembled F16C" : $"float16 converted by integers: {refusal}";

    /// <summary>A routine of one row; see <see cref="ConversionCode"/>.</summary>
    public void Run<TFrom, TTo>(TFrom* from, TTo* to, int n, float* factor = null) where TFrom : unmanaged where TTo : unmanaged
    {
        for (int x = 0; x < n; x += MostOfCall)
            _code(from + x, factor, to + x, Math.Min(MostOfCall, n - x));
    }

    /// <summary>The routine of two rows, shorter ones.</summary>
    public void Run(float* low, float* high, uint* to, int n) => _code(low, high, to, n);

    private static string? Setting => Environment.GetEnvironmentVariable(PairTile.Switch);

    /// <summary>A routine, or why there is none.</summary>
    internal readonly record struct Routine(Conversions? Code, string? Refusal);

    /// <param name="setting">Value of the environment variable.</param>
    /// <param name="makeExecutable">For tests: instead of the system's call.</param>
    internal static Routine LoadWidening(string? setting, Func<nint, nint, bool>? makeExecutable = null)
        => Load(MissingF16C(setting), windows => ConversionCode.WidenFloat16(windows, Avx512F.IsSupported), ChecksWidening, makeExecutable);

    private static Routine LoadNarrowing(string? setting)
        => Load(MissingF16C(setting), windows => ConversionCode.NarrowFloat16(windows, Avx512F.IsSupported), ChecksNarrowing);

    private static string? MissingF16C(string? setting)
        => PairTile.MissingForAll(setting) ?? (Avx2.IsSupported && (X86Base.CpuId(1, 0).Ecx & 1 << 29) != 0 ? null : "no AVX2 with F16C");

    private static Routine Load(string? missing, Func<bool, byte[]> code, Func<Conversions, bool> check, Func<nint, nint, bool>? makeExecutable = null)
    {
        if (missing is not null)
            return new(null, missing);
        try
        {
            var conversions = new Conversions(ExecutablePages.Load(code(OperatingSystem.IsWindows()), makeExecutable));
            return check(conversions) ? new(conversions, null) : new(null, "the instruction converts otherwise than its definition");
        }
        catch (Win32Exception e)
        {
            return new(null, e.Message);
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
