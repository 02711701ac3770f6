using System.Reflection;
using System.Text;
using TorchFlash.Attention;
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
        text.AppendLine($"  engine    {Engines.Cpu.Describe()}");
        text.AppendLine($"  threads   {torch.get_num_threads()} (torch.get_num_threads)");
        text.AppendLine("  engine    cuda");
        foreach (string line in CudaEngine.DescribeAll().Split('\n', StringSplitOptions.RemoveEmptyEntries))
            text.AppendLine($"    {line.TrimEnd()}");
        text.AppendLine($"  deterministic {(are_deterministic_algorithms_enabled() ? "on" : "off")} (flash.use_deterministic_algorithms): whether dQ of 16-bit types on CUDA is summed in a fixed order");
        text.AppendLine("  fused     float32, float64, float16 and bfloat16; on the CPU with everything: score programs, masks, biases, dropout, windows, blocks,");
        text.AppendLine("            sinks, weights, log-sum-exp, and the gradients of all of it; on CUDA the same but weights of single heads and gradients of");
        text.AppendLine("            captured tensors, with head dimensions up to 256; memory O(Nq + Nk) forward and backward,");
        text.AppendLine("            O(Nq Nk) only for weights, captured tensors of that size, and gradients that can be differentiated again (libtorch's operators)");
        text.AppendLine("  Each of the following is announced once:");
        text.AppendLine("  libtorch  torch.nn.functional.scaled_dot_product_attention, for the output alone: on CUDA with programs of additions whose captured");
        text.AppendLine("            tensors require gradients unless causal, with head dimensions beyond 256, or where the engine is off; other devices");
        text.AppendLine("  composed  matmul, softmax, matmul of libtorch, exact, memory O(Nq Nk): on no CPU; elsewhere what libtorch's own attention does");
        text.AppendLine("            not take: need_weights, log-sum-exp, sinks, causal bottom right, other programs, programs beside is_causal, no keys");
        return text.ToString();
    }

    private static string Version(Assembly assembly) =>
        assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0]
        ?? assembly.GetName().Version?.ToString()
        ?? "of unknown version";
}
