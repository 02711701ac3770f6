using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using TorchFlash.Kernels.Cpu.Assembled;
using TorchFlash.Kernels.Cpu.Lanes;
using TorchFlash.Kernels.Cpu.Tiles;
using TorchFlash.Kernels.Files;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// The engine for processors: C# SIMD over the widest registers there are, float32, float64, and bfloat16 and float16 in float32,
/// forward and backward parallel over batch, heads and tiles. A result does not depend on the number of threads. Safe for use from several threads at once.
/// </summary>
public sealed class CpuEngine : IAttentionEngine
{
    private readonly ICpuPasses _single;
    private readonly ICpuPasses _double;
    private readonly bool _isAssembled;

    private static readonly Lazy<CpuEngine> s_instance = new(() =>
    {
        VectorWidth width = VectorWidth.Choose();
        return new(width, new TilePlan(Caches.OfThisMachine, TuningResults.Load(width.Bits, DiskCache.FromEnvironment())), isAssembled: true);
    });

    private readonly VectorWidth _width;

    /// <summary>
    /// The engine for this machine: registers of the width that is fastest, or that the environment variable TORCHFLASH_VECTOR_BITS sets; tiles as
    /// its caches suggest, or as <see cref="Tune"/> has found them.
    /// </summary>
    /// <exception cref="ArgumentException">The environment variable asks for registers that this processor does not have.</exception>
    public static CpuEngine Instance => s_instance.Value;

    /// <summary>An engine for registers of a given width.</summary>
    /// <param name="vectorBits">512, 256, 128, or 0 for scalar code.</param>
    /// <exception cref="ArgumentOutOfRangeException">This processor, or the setting of the runtime, has no such registers.</exception>
    public CpuEngine(int vectorBits)
        : this(
            VectorWidth.Supported.Contains(vectorBits) ? new(vectorBits, "as asked for")
                : throw new ArgumentOutOfRangeException(nameof(vectorBits), vectorBits, $"Register widths are 512, 256, 128 and 0 (scalar code); here there are {string.Join(", ", VectorWidth.Supported)}."),
            new TilePlan(Caches.OfThisMachine, TuningResults.Load(vectorBits, DiskCache.FromEnvironment())),
            isAssembled: true)
    {
    }

    internal CpuEngine(VectorWidth width, TilePlan plan, bool isAssembled)
    {
        _width = width;
        _isAssembled = isAssembled;
        Plan = plan;
        (_single, _double) = width.Bits switch
        {
            512 => ((ICpuPasses)new CpuPasses<Lanes512<float>, Vector512<float>, float>(), (ICpuPasses)new CpuPasses<Lanes512<double>, Vector512<double>, double>()),
            256 => (new CpuPasses<Lanes256<float>, Vector256<float>, float>(), new CpuPasses<Lanes256<double>, Vector256<double>, double>()),
            128 => (new CpuPasses<Lanes128<float>, Vector128<float>, float>(), new CpuPasses<Lanes128<double>, Vector128<double>, double>()),
            _ => (new CpuPasses<Lanes1<float>, float, float>(), new CpuPasses<Lanes1<double>, double, double>()),
        };
    }

    /// <summary>Width in bits of the registers that this engine uses: 512, 256, 128, or 0 for scalar code.</summary>
    public int VectorBits => _width.Bits;

    /// <summary>Sizes of tiles.</summary>
    internal TilePlan Plan { get; private set; }

    /// <summary>
    /// Searches the sizes of tiles that are fastest for a kind of problem on this machine, a matter of seconds in which nothing else should
    /// run. What it finds is used from now on, and by later processes of this user: it is kept beside the compiled kernels. Sums may come out in another order then.
    /// </summary>
    /// <param name="elementType">Element type.</param>
    /// <param name="headDim">Head dimension, which stands for those that round up to the same power of 2.</param>
    /// <param name="threads">Threads; 0: one for each processor.</param>
    /// <returns>A line for the forward and one for the backward pass: what was tried, and how fast it was.</returns>
    /// <exception cref="ArgumentOutOfRangeException">There are no such elements, or the head dimension is none.</exception>
    public IReadOnlyList<string> Tune(ElementType elementType, int headDim, int threads = 0)
    {
        (TuningResults results, IReadOnlyList<string> lines) = Tuner.Search(plan => new CpuEngine(_width, plan, _isAssembled), Plan, elementType, headDim, threads);
        Plan = Plan.With(results);
        return [.. lines, results.Keep(VectorBits, DiskCache.FromEnvironment())];
    }

    /// <inheritdoc/>
    public string Name => "cpu";

    /// <inheritdoc/>
    public string Describe()
        => $"cpu: {RuntimeInformation.ProcessArchitecture}, {(VectorBits == 0 ? "scalar code" : $"{VectorBits}-bit vectors")} ({_width.Reason}), "
            + $"{Environment.ProcessorCount} processors, {Plan.Caches}, {(Plan.Tuned is null ? "tiles by these" : "tiles by search")}, {PairTile.Instance.Describe()}, {Conversions.Describe()}";

    /// <inheritdoc/>
    public string? Refusal(in AttentionProblem problem) => null;

    /// <inheritdoc/>
    public long BackwardWorkspace(in AttentionProblem problem, in ExecutionOptions options = default) => 0;

    /// <inheritdoc/>
    public void Forward(in AttentionProblem problem, in ForwardArguments arguments, in ExecutionOptions options = default)
    {
        Validation.Check(problem, arguments, options);
        if (Validation.Rows(problem) > 0)
            Passes(problem).Forward(problem, arguments, Setting(problem, options));
    }

    /// <inheritdoc/>
    public void Backward(in AttentionProblem problem, in BackwardArguments arguments, in ExecutionOptions options = default)
    {
        Validation.Check(problem, arguments, options);
        Passes(problem).Backward(problem, arguments, Setting(problem, options));
    }

    /// <inheritdoc/>
    public void Weights(in AttentionProblem problem, in WeightsArguments arguments, in ExecutionOptions options = default)
    {
        Validation.Check(problem, arguments, options);
        if (Validation.Rows(problem) > 0 && problem.KeyLength > 0)
            Passes(problem).Weights(problem, arguments, Setting(problem, options));
    }

    private ICpuPasses Passes(in AttentionProblem problem) => problem.ElementType == ElementType.Float64 ? _double : _single;

    private PassSetting Setting(in AttentionProblem problem, in ExecutionOptions options)
    {
        double work = (double)problem.Batch * problem.Heads * problem.QueryLength * problem.KeyLength * (problem.HeadDim + problem.ValueDim);
        int threads = (int)Math.Clamp(work / WorkerPool.WorkOfThread, 1, options.Threads > 0 ? options.Threads : Environment.ProcessorCount);
        // The tile for products of bfloat16 is as wide as the registers of an engine of 512 bits.
        bool ofPairs = problem.ElementType == ElementType.BFloat16 && VectorBits == 512 && _isAssembled && PairTile.Instance.Refusal is null;
        return new(threads, Plan, ofPairs ? PairTile.Instance : null);
    }

    /// <summary>The passes for one register width and element type.</summary>
    private interface ICpuPasses
    {
        void Forward(in AttentionProblem problem, in ForwardArguments arguments, in PassSetting setting);

        void Backward(in AttentionProblem problem, in BackwardArguments arguments, in PassSetting setting);

        void Weights(in AttentionProblem problem, in WeightsArguments arguments, in PassSetting setting);
    }

    private sealed class CpuPasses<L, V, T> : ICpuPasses
        where L : struct, ILanes<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        public void Forward(in AttentionProblem problem, in ForwardArguments arguments, in PassSetting setting) => ForwardPass<L, V, T>.Run(problem, arguments, setting);

        public void Backward(in AttentionProblem problem, in BackwardArguments arguments, in PassSetting setting) => BackwardPass<L, V, T>.Run(problem, arguments, setting);

        public void Weights(in AttentionProblem problem, in WeightsArguments arguments, in PassSetting setting) => WeightsPass<L, V, T>.Run(problem, arguments, setting);
    }
}
