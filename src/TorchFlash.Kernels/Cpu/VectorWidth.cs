using System.Diagnostics;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using TorchFlash.Kernels.Cpu.Lanes;
using TorchFlash.Kernels.Cpu.Tiles;

namespace TorchFlash.Kernels.Cpu;

/// <summary>How wide the registers are that the engine works with.</summary>
/// <param name="Bits">512, 256, 128, or 0 for scalar code.</param>
/// <param name="Reason">Why.</param>
internal readonly record struct VectorWidth(int Bits, string Reason)
{
    /// <summary>Environment variable that sets the width.</summary>
    public const string Variable = "TORCHFLASH_VECTOR_BITS";

    /// <summary>512 bits are given up only for more than noise: a choice that a disturbed machine turns over would turn over bits of results.</summary>
    private const double Margin = 0.9;

    /// <summary>What this processor and the settings of the runtime allow, widest first.</summary>
    public static IEnumerable<int> Supported { get; } = Array.FindAll([512, 256, 128, 0], IsSupported);

    /// <summary>
    /// The width that the environment sets, or else the fastest. Where AVX-512 once made a processor lower its clock .NET prefers 256 bits to
    /// this day, whatever it does; register tiles of both widths are timed there (a few milliseconds, once a process).
    /// </summary>
    /// <exception cref="ArgumentException">The environment asks for what there is not.</exception>
    public static VectorWidth Choose(string? variable, bool isPreferred, Func<double> speedOf512)
    {
        if (!string.IsNullOrWhiteSpace(variable))
        {
            if (!int.TryParse(variable, out int bits) || !Supported.Contains(bits))
                throw new ArgumentException($"The environment variable {Variable} is \"{variable}\"; this processor takes {string.Join(", ", Supported)} (0: scalar code).");
            return new(bits, $"set by {Variable}");
        }
        int widest = Supported.First();
        if (widest < 512)
            return new(widest, "the widest there are");
        if (isPreferred)
            return new(512, "the widest there are, and .NET prefers them");
        double speed = speedOf512();
        FormattableString measured = $".NET prefers 256 bits; register tiles of 512 ran {speed:F2} times as fast";
        return new(speed > Margin ? 512 : 256, FormattableString.Invariant(measured));
    }

    /// <summary>The choice for this process.</summary>
    public static VectorWidth Choose() => Choose(Environment.GetEnvironmentVariable(Variable), Vector512.IsHardwareAccelerated, SpeedOf512);

    private static bool IsSupported(int bits) => bits switch
    {
        512 => Avx512F.IsSupported && Avx512DQ.IsSupported,
        256 => Vector256.IsHardwareAccelerated && Fma.IsSupported,
        128 => Vector128.IsHardwareAccelerated,
        _ => true,
    };

    /// <summary>Multiply-adds a second of register tiles of 512 bits over those of 256: the best of several turns each.</summary>
    internal static double SpeedOf512()
    {
        const int turns = 12;
        double wide = 0, narrow = 0;
        for (int turn = 0; turn < turns; turn++) // the first ones bring the clock to where it stays
        {
            wide = Math.Max(wide, Speed<Lanes512<float>, Vector512<float>>());
            narrow = Math.Max(narrow, Speed<Lanes256<float>, Vector256<float>>());
        }
        return wide / narrow;
    }

    /// <summary>Multiply-adds a second of one product of tiles that lies in the first-level cache.</summary>
    private static unsafe double Speed<L, V>()
        where L : struct, ILanes<V, float>
        where V : struct
    {
        const int depth = 64, rows = 48, repetitions = 20;
        int width = Product<L, V, float>.Width;
        float* a = (float*)NativeMemory.AlignedAlloc((rows * depth + depth * 64 + rows * 64) * sizeof(float), 64), b = a + rows * depth, c = b + depth * 64;
        try
        {
            new Span<float>(a, rows * depth + depth * 64).Fill(1);
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < repetitions; i++)
                Product<L, V, float>.Panel(width, new(a, depth), b, new(c, width), depth, rows / Product<L, V, float>.TileRows);
            return (double)rows * depth * width * repetitions / Stopwatch.GetElapsedTime(start).TotalSeconds;
        }
        finally
        {
            NativeMemory.AlignedFree(a);
        }
    }
}
