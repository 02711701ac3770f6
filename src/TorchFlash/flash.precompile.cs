using System.Diagnostics;
using TorchFlash.Arguments;
using TorchFlash.Attention;
using TorchFlash.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash;

public static partial class flash
{
    /// <summary>
    /// Compiles the CUDA kernels for a kind of attention now, so that its first call need not: for those who want no latency there. What
    /// has been compiled once is kept on disk. The lengths, the batch size and the numbers of heads do not matter.
    /// </summary>
    /// <param name="dtype">Type of query, key and value.</param>
    /// <param name="head_dim">d of query and key.</param>
    /// <param name="value_dim">d_v of value, d by default.</param>
    /// <param name="is_causal">Whether the calls will be causal, in either alignment.</param>
    /// <param name="scale">The scale of the calls; only whether it is negative matters.</param>
    /// <param name="backward">The backward pass too, the one that <see cref="use_deterministic_algorithms"/> asks for now.</param>
    /// <param name="need_weights">Averaged weights too.</param>
    /// <param name="device">The device, the first CUDA one by default. On the CPU there is nothing to compile.</param>
    /// <returns>The kernels that are ready now, one line each, and how long it took.</returns>
    /// <exception cref="ArgumentException">An argument does not fit.</exception>
    /// <exception cref="NotSupportedException">There is no engine for the device, or it does not take such a call; the message says why.</exception>
    /// <exception cref="Kernels.Cuda.CudaException">The driver or the compiler failed.</exception>
    public static (IReadOnlyList<string> kernels, TimeSpan time) precompile(
        ScalarType dtype,
        long head_dim,
        long? value_dim = null,
        bool is_causal = false,
        double? scale = null,
        bool backward = true,
        bool need_weights = false,
        Device? device = null)
    {
        ArgumentChecks.HeadDimension(head_dim);
        ArgumentChecks.HeadDimension(value_dim ?? head_dim, nameof(value_dim));
        AttentionProblem problem = new()
        {
            Batch = 1,
            Heads = 1,
            QueryLength = 1,
            KeyLength = 1,
            HeadDim = (int)head_dim,
            ValueDim = (int)(value_dim ?? head_dim),
            Scale = scale ?? AttentionProblem.DefaultScale((int)head_dim),
            ElementType = AttentionCall.ElementTypeOf(dtype),
            Causal = is_causal ? CausalMask.TopLeft : CausalMask.None,
        };
        IAttentionEngine engine = Engines.Taking(problem, device?.type ?? DeviceType.CUDA, device?.index ?? 0, out string? reason)
            ?? throw new NotSupportedException(reason);
        Stopwatch clock = Stopwatch.StartNew();
        IReadOnlyList<string> kernels = engine.Precompile(
            problem, new PrecompileOptions { ForwardOnly = !backward, Deterministic = are_deterministic_algorithms_enabled(), Weights = need_weights });
        return (kernels, clock.Elapsed);
    }
}
