using System.Reflection;
using System.Text;
using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Cuda;
using TorchSharp;

namespace TorchFlash;

public static partial class flash
{
    /// <summary>
    /// Readable text: the engines, what they run on and what they have compiled, or why one is off, and which cases take which path. To
    /// tell about CUDA it loads the driver and NVRTC where there are any.
    /// </summary>
    public static string describe()
    {
        Assembly torchSharp = typeof(torch).Assembly;
        StringBuilder text = new();
        text.AppendLine($"TorchFlash {Version(typeof(flash).Assembly)} on {torchSharp.GetName().Name} {Version(torchSharp)}, libtorch {torch.__version__}");
        text.AppendLine($"  engine    {CpuEngine.Instance.Describe()}");
        text.AppendLine($"  threads   {torch.get_num_threads()} (torch.get_num_threads)");
        text.AppendLine("  engine    cuda");
        foreach (string line in CudaEngine.DescribeAll().Split('\n', StringSplitOptions.RemoveEmptyEntries))
            text.AppendLine($"    {line.TrimEnd()}");
        text.AppendLine($"  deterministic {(are_deterministic_algorithms_enabled() ? "on" : "off")} (flash.use_deterministic_algorithms): whether dQ of 16-bit types on CUDA is summed in a fixed order");
        text.AppendLine("  fused     on the CPU float32 and float64, on CUDA also float16 and bfloat16, without mask or dropout: full, causal (top left,");
        text.AppendLine("            bottom right), grouped heads, any strides, d_v != d (on CUDA both at most 256), averaged weights; memory O(Nq + Nk)");
        text.AppendLine("            forward and backward, O(Nq Nk) only where the weights are wanted, or gradients that can be differentiated again");
        text.AppendLine("  Each of the following is announced once:");
        text.AppendLine("  widened   float16 and bfloat16 on the CPU: in float32 by one of the other paths, and rounded back");
        text.AppendLine("  libtorch  torch.nn.functional.scaled_dot_product_attention, for the output alone: CUDA with dropout, with one mask unless");
        text.AppendLine("            causal, with head dimensions beyond 256, or where the engine is off; other devices");
        text.AppendLine("  composed  matmul, softmax, matmul of libtorch, exact, memory O(Nq Nk): on the CPU attn_mask, key_padding_mask, dropout, or");
        text.AppendLine("            is_causal over keys that add_bias_kv or add_zero_attn appends; elsewhere what libtorch's own attention does not");
        text.AppendLine("            take: need_weights, causal bottom right, two masks at once, no keys");
        return text.ToString();
    }

    private static string Version(Assembly assembly) =>
        assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0]
        ?? assembly.GetName().Version?.ToString()
        ?? "of unknown version";
}
