using System.Reflection;
using System.Text;
using TorchFlash.Autograd;
using TorchFlash.Kernels.Cpu;
using TorchSharp;

namespace TorchFlash;

/// <summary>
/// FlashAttention for TorchSharp. The functions and modules stand where TorchSharp has theirs: <c>torch.nn.functional.x</c> becomes
/// <c>flash.nn.functional.x</c>, with the same parameters in the same order.
/// </summary>
public static partial class flash
{
    /// <summary>Receives what must not go unnoticed, such as a fall-back to libtorch; the standard error stream by default.</summary>
    public static Action<string> warn { get; set; } = Console.Error.WriteLine;

    /// <summary>
    /// The exception that ended the last backward pass that failed inside an attention, null when none has. What <c>backward()</c> itself
    /// throws then is libtorch's complaint about a gradient of the shape [0, 7, 7]: nothing else comes through its C++ engine.
    /// </summary>
    public static Exception? last_backward_exception => BackwardGuard.LastException;

    /// <summary>Readable text: the engine, its vector width and threads, and which cases take which path.</summary>
    public static string describe()
    {
        Assembly torchSharp = typeof(torch).Assembly;
        StringBuilder text = new();
        text.AppendLine($"TorchFlash {Version(typeof(flash).Assembly)} on {torchSharp.GetName().Name} {Version(torchSharp)}, libtorch {torch.__version__}");
        text.AppendLine($"  engine    {CpuEngine.Instance.Describe()}");
        text.AppendLine($"  threads   {torch.get_num_threads()} (torch.get_num_threads)");
        text.AppendLine("  fused     float32 and float64 CPU tensors without mask or dropout: full, causal (top left, bottom right), any strides,");
        text.AppendLine("            d_v != d; averaged weights; memory O(Nq + Nk) forward and backward");
        text.AppendLine("  composed  with attn_mask, key_padding_mask or dropout: matmul, softmax, matmul of libtorch; exact; memory O(Nq Nk),");
        text.AppendLine("            because the tile loops take no mask and no dropout yet; also float16 and bfloat16 with a causal mask aligned");
        text.AppendLine("            bottom right or combined with attn_mask");
        text.AppendLine("  libtorch  float16, bfloat16 and tensors on other devices: torch.nn.functional.scaled_dot_product_attention, because");
        text.AppendLine("            no engine takes them yet");
        return text.ToString();
    }

    private static string Version(Assembly assembly) =>
        assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0]
        ?? assembly.GetName().Version?.ToString()
        ?? "of unknown version";
}
