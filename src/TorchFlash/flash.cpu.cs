using System.Diagnostics;
using TorchFlash.Arguments;
using TorchFlash.Attention;
using TorchFlash.Kernels.Cpu;
using static TorchSharp.torch;

namespace TorchFlash;

public static partial class flash
{
    /// <summary>
    /// Sets the width of the registers that attention on the CPU works with from now on. By itself it takes the fastest: 512 bits where the
    /// processor has AVX-512 and a short measurement says so, whatever .NET prefers there. The environment variable
    /// <c>TORCHFLASH_VECTOR_BITS</c> sets it from the start; <see cref="describe"/> says what it is and why.
    /// </summary>
    /// <param name="bits">512, 256, 128, or 0 for scalar code; null for the choice that is made without this.</param>
    /// <exception cref="ArgumentException">This processor has no such registers.</exception>
    public static void set_vector_bits(int? bits)
    {
        try
        {
            Engines.Cpu = bits is { } width ? new CpuEngine(width) : CpuEngine.Instance;
        }
        catch (ArgumentOutOfRangeException e)
        {
            throw new ArgumentOutOfRangeException(nameof(bits), bits, e.Message);
        }
    }

    /// <summary>The width of the registers that attention on the CPU works with: 512, 256, 128, or 0 for scalar code.</summary>
    public static int get_vector_bits() => Engines.Cpu.VectorBits;

    /// <summary>
    /// Searches the sizes of tiles that are fastest for a kind of attention on this machine's processor, in a few seconds in which nothing else
    /// should run. They are used from now on and by later processes: they are kept beside the compiled kernels (<c>TORCHFLASH_CACHE</c>). Without it the sizes follow from
    /// the caches, which mostly is as good to a few per cent. Sums may come out in another order than before.
    /// </summary>
    /// <param name="dtype">Type of query, key and value.</param>
    /// <param name="head_dim">Head dimension.</param>
    /// <returns>What was found, a line for the forward and one for the backward pass, where it is kept, and how long it took.</returns>
    /// <exception cref="ArgumentException">An argument does not fit.</exception>
    public static (IReadOnlyList<string> results, TimeSpan time) tune(ScalarType dtype = ScalarType.Float32, long head_dim = 64)
    {
        ArgumentChecks.HeadDimension(head_dim);
        Stopwatch clock = Stopwatch.StartNew();
        IReadOnlyList<string> results = Engines.Cpu.Tune(AttentionCall.ElementTypeOf(dtype), (int)head_dim, get_num_threads());
        return (results, clock.Elapsed);
    }
}
