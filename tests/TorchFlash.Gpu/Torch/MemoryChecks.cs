using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Gpu.Torch;

/// <summary>Memory grows with N, not with its square.</summary>
internal static class MemoryChecks
{
    public static IEnumerable<Check> All(TorchGpu gpu)
    {
        if (gpu.IsRehearsal)
            yield break;
        foreach (ScalarType type in (ScalarType[])[ScalarType.BFloat16, ScalarType.Float32])
            yield return new Check($"memory of forward and backward at N = 32768, {type}", () => Growth(gpu, type));
    }

    private static string Growth(TorchGpu gpu, ScalarType type)
    {
        const long heads = 12, dim = 64;
        long? half = Peak(16384), whole = Peak(32768);
        if (half is null || whole is null)
            return "this libtorch does not tell what its allocator holds";
        double scores = 32768.0 * 32768 * heads * (type == ScalarType.Float32 ? 4 : 2);
        string note = FormattableString.Invariant($"{whole / 1048576.0:F0} MiB, at half the length {half / 1048576.0:F0}; the scores alone would be {scores / (1 << 30):F0} GiB");
        return whole < 2.2 * half && whole < scores / 20 ? note : throw new InvalidOperationException(note);

        long? Peak(long n)
        {
            Tensor x = gpu.Normal(type, 1, heads, n, dim).requires_grad_();
            return gpu.PeakGrowth(() =>
            {
                using DisposeScope scope = NewDisposeScope();
                flash.nn.functional.scaled_dot_product_attention(x, x, x, is_causal: true).sum().backward();
                x.grad = null;
            });
        }
    }
}
