namespace AttentionBench.IoModel;

/// <summary>A graphics processor by its vendor's figures.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Multiprocessors">"Streaming multiprocessors" of the data sheet's product.</param>
/// <param name="SharedMemory">Bytes a multiprocessor: "maximum amount of shared memory per multiprocessor", CUDA C++ Programming Guide, table of technical specifications.</param>
/// <param name="MemoryBandwidth">Bytes a second: "GPU memory bandwidth" of the data sheet.</param>
/// <param name="TensorFlops">Operations a second: "BFLOAT16 Tensor Core", dense.</param>
/// <param name="FlopsPerClock">Of a multiprocessor, dense BF16 with FP32 accumulation: the architecture white paper.</param>
/// <param name="RowsPerRead">Rows of S or O that one read of K or V out of shared memory serves: 16 a warp with mma.sync m16n8k16 (32 where a warp has two such tiles), 64 a warpgroup with wgmma.</param>
/// <param name="Source">Where the figures are from.</param>
internal sealed record Gpu(string Name, int Multiprocessors, double SharedMemory, double MemoryBandwidth, double TensorFlops, double FlopsPerClock, int RowsPerRead, string Source)
{
    /// <summary>Bytes a clock of a multiprocessor's shared memory: 32 banks of 32 bits (CUDA C++ Programming Guide, shared memory).</summary>
    private const double SharedBytesPerClock = 128;

    /// <summary>Bytes of an element: bfloat16.</summary>
    public const int ElementSize = 2;

    /// <summary>The processors, those with several memories once for each.</summary>
    public static IReadOnlyList<Gpu> All { get; } =
    [
        new("A100 40 GB", 108, 164 << 10, 1.555e12, 312e12, 2048, 16, "NVIDIA A100 Tensor Core GPU data sheet, A100 40GB: 1,555 GB/s, 312 TFLOPS BFLOAT16; A100 architecture white paper: 108 SMs, 1024 dense FP16/BF16 FMA a clock and SM"),
        new("A100 80 GB", 108, 164 << 10, 2.039e12, 312e12, 2048, 16, "NVIDIA A100 Tensor Core GPU data sheet, A100 80GB SXM: 2,039 GB/s, 312 TFLOPS BFLOAT16; A100 architecture white paper"),
        new("H100 SXM", 132, 228 << 10, 3.35e12, 989e12, 4096, 64, "NVIDIA H100 Tensor Core GPU data sheet, H100 SXM: 3.35 TB/s, 1,979 TFLOPS BFLOAT16 with sparsity, half of it dense; H100 architecture white paper: 132 SMs, 2048 dense FMA a clock and SM"),
    ];

    /// <summary>Operations for every byte of memory at which memory and tensor cores take the same time.</summary>
    public double MemoryBalance => TensorFlops / MemoryBandwidth;

    /// <summary>The same of shared memory.</summary>
    public double SharedBalance => FlopsPerClock / SharedBytesPerClock;

    /// <summary>Bytes of shared memory of a block of threads forward: the query tile, and two stages of K and V.</summary>
    public static double SharedBytes(int queries, int keys, int headDim) => ((double)queries + 4 * keys) * headDim * ElementSize;

    /// <summary>
    /// Bytes between memory and the multiprocessors where the second-level cache catches nothing. Forward: Q in, O out, K and V once per query tile; backward:
    /// K, V in, dK, dV out, and per key tile Q and dO in and float32 dQ added in memory (read and written).
    /// </summary>
    public static double MemoryBytes(int length, int headDim, int stationary, bool isBackward)
    {
        double operand = (double)length * headDim * ElementSize, tiles = Math.Ceiling((double)length / stationary);
        return isBackward ? 4 * operand + tiles * (2 * operand + 2 * 2 * operand) : 2 * operand + tiles * 2 * operand;
    }

    /// <summary>Operations for every byte of those.</summary>
    public static double MemoryIntensity(int length, int headDim, int stationary, bool isBackward)
        => new HeadShape(length, headDim, ElementSize).Flops(isBackward) / MemoryBytes(length, headDim, stationary, isBackward);

    /// <summary>Operations forward for every byte of K and V that tensor cores read out of shared memory; P and Q are in registers.</summary>
    public double SharedIntensity(int rowsPerRead) => 2.0 * rowsPerRead / ElementSize;
}
