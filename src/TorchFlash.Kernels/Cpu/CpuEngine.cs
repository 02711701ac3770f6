using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using TorchFlash.Kernels.Cpu.Lanes;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// The engine for processors: C# SIMD over the widest registers there are, float32, float64, and bfloat16 and float16 in float32,
/// forward and backward parallel over batch, heads and tiles. A result does not depend on the number of threads. Safe for use from several threads at once.
/// </summary>
public sealed class CpuEngine : IAttentionEngine
{
    private readonly ICpuPasses _single;
    private readonly ICpuPasses _double;

    /// <summary>The engine for the widest registers of this machine.</summary>
    public static CpuEngine Instance { get; } = new(WidestVectorBits);

    /// <summary>Width in bits of the registers that this engine uses: 512, 256, 128, or 0 for scalar code.</summary>
    public int VectorBits { get; }

    /// <summary>An engine for registers of a given width, supported by the hardware or not.</summary>
    internal CpuEngine(int vectorBits)
    {
        VectorBits = vectorBits;
        (_single, _double) = vectorBits switch
        {
            512 => ((ICpuPasses)new CpuPasses<Lanes512<float>, Vector512<float>, float>(), (ICpuPasses)new CpuPasses<Lanes512<double>, Vector512<double>, double>()),
            256 => (new CpuPasses<Lanes256<float>, Vector256<float>, float>(), new CpuPasses<Lanes256<double>, Vector256<double>, double>()),
            128 => (new CpuPasses<Lanes128<float>, Vector128<float>, float>(), new CpuPasses<Lanes128<double>, Vector128<double>, double>()),
            0 => (new CpuPasses<Lanes1<float>, float, float>(), new CpuPasses<Lanes1<double>, double, double>()),
            _ => throw new ArgumentOutOfRangeException(nameof(vectorBits), vectorBits, "Register widths are 512, 256, 128 and 0 (scalar)."),
        };
    }

    internal static int WidestVectorBits
        => Vector512.IsHardwareAccelerated && Avx512F.IsSupported && Avx512DQ.IsSupported ? 512
            : Vector256.IsHardwareAccelerated && Fma.IsSupported ? 256
            : Vector128.IsHardwareAccelerated ? 128
            : 0;

    /// <inheritdoc/>
    public string Name => "cpu";

    /// <inheritdoc/>
    public string Describe()
        => $"cpu: {RuntimeInformation.ProcessArchitecture}, {(VectorBits == 0 ? "scalar code" : $"{VectorBits}-bit vectors")}, "
            + $"{Environment.ProcessorCount} processors, {CacheSizes.SecondLevel / 1024} KiB second-level cache";

    /// <inheritdoc/>
    public string? Refusal(in AttentionProblem problem) => null;

    /// <inheritdoc/>
    public long BackwardWorkspace(in AttentionProblem problem, in ExecutionOptions options = default) => 0;

    /// <inheritdoc/>
    public void Forward(in AttentionProblem problem, in ForwardArguments arguments, in ExecutionOptions options = default)
    {
        Validation.Check(problem, arguments, options);
        if (Validation.Rows(problem) > 0)
            Passes(problem).Forward(problem, arguments, Threads(problem, options));
    }

    /// <inheritdoc/>
    public void Backward(in AttentionProblem problem, in BackwardArguments arguments, in ExecutionOptions options = default)
    {
        Validation.Check(problem, arguments, options);
        Passes(problem).Backward(problem, arguments, Threads(problem, options));
    }

    /// <inheritdoc/>
    public void Weights(in AttentionProblem problem, in WeightsArguments arguments, in ExecutionOptions options = default)
    {
        Validation.Check(problem, arguments, options);
        if (Validation.Rows(problem) > 0 && problem.KeyLength > 0)
            Passes(problem).Weights(problem, arguments, Threads(problem, options));
    }

    private ICpuPasses Passes(in AttentionProblem problem) => problem.ElementType == ElementType.Float64 ? _double : _single;

    private static int Threads(in AttentionProblem problem, in ExecutionOptions options)
    {
        double work = (double)problem.Batch * problem.Heads * problem.QueryLength * problem.KeyLength * (problem.HeadDim + problem.ValueDim);
        return (int)Math.Clamp(work / WorkerPool.WorkOfThread, 1, options.Threads > 0 ? options.Threads : Environment.ProcessorCount);
    }

    /// <summary>The passes for one register width and element type.</summary>
    private interface ICpuPasses
    {
        void Forward(in AttentionProblem problem, in ForwardArguments arguments, int threads);

        void Backward(in AttentionProblem problem, in BackwardArguments arguments, int threads);

        void Weights(in AttentionProblem problem, in WeightsArguments arguments, int threads);
    }

    private sealed class CpuPasses<L, V, T> : ICpuPasses
        where L : struct, ILanes<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        public void Forward(in AttentionProblem problem, in ForwardArguments arguments, int threads) => ForwardPass<L, V, T>.Run(problem, arguments, threads);

        public void Backward(in AttentionProblem problem, in BackwardArguments arguments, int threads) => BackwardPass<L, V, T>.Run(problem, arguments, threads);

        public void Weights(in AttentionProblem problem, in WeightsArguments arguments, int threads) => WeightsPass<L, V, T>.Run(problem, arguments, threads);
    }
}
