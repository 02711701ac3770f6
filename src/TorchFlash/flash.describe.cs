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
        text.AppendLine("            forward and backward, O(Nq Nk) only where the weights are wanted");
        text.AppendLine("  composed  float32 and float64 on the CPU with attn_mask, key_padding_mask, dropout, or is_causal over keys that add_bias_kv or");
        text.AppendLine("            add_zero_attn appends, because the tile loops take no mask and no dropout yet: matmul, softmax, matmul of");
        text.AppendLine("            libtorch; exact; memory O(Nq Nk)");
        text.AppendLine("  libtorch  torch.nn.functional.scaled_dot_product_attention, announced once, for the output alone where no engine takes a call:");
        text.AppendLine("            float16 and bfloat16 on the CPU, full or causal top left; CUDA with dropout, with one mask unless causal, with head");
        text.AppendLine("            dimensions beyond 256, or where the engine is off; other devices");
        text.AppendLine("  composed  announced once, where libtorch's own attention does not fit either: of those calls the ones with need_weights, causal");
        text.AppendLine("            bottom right, causal and masked, a Bool mask and an added one at once, no keys, and on the CPU any mask or dropout;");
        text.AppendLine("            exact up to the type's rounding; memory O(Nq Nk)");
        return text.ToString();
    }

    private static string Version(Assembly assembly) =>
        assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0]
        ?? assembly.GetName().Version?.ToString()
        ?? "of unknown version";
}
