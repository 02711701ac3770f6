using System.Reflection;
using System.Text;
using TorchFlash.Attention;
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
    /// <summary>
    /// Receives what must not go unnoticed, such as a fall-back to libtorch, which each receiver is told once; the standard error
    /// stream by default.
    /// </summary>
    public static Action<string> warn
    {
        get;
        set
        {
            field = value;
            FallBack.StartOver();
        }
    } = Console.Error.WriteLine;

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
        text.AppendLine("  fused     float32 and float64 on the CPU without mask or dropout: full, causal (top left, bottom right), any strides, d_v != d,");
        text.AppendLine("            averaged weights; memory O(Nq + Nk) forward and backward, O(Nq Nk) only where the weights are wanted");
        text.AppendLine("  composed  float32 and float64 on the CPU with attn_mask, key_padding_mask, dropout, or is_causal over keys that add_bias_kv or");
        text.AppendLine("            add_zero_attn appends, because the tile loops take no mask and no dropout yet: matmul, softmax, matmul of");
        text.AppendLine("            libtorch; exact; memory O(Nq Nk)");
        text.AppendLine("  libtorch  float16, bfloat16 and other devices, because no engine takes them yet: the output alone, full or causal top left,");
        text.AppendLine("            and on other devices than the CPU also with dropout, or with one mask unless causal:");
        text.AppendLine("            torch.nn.functional.scaled_dot_product_attention");
        text.AppendLine("  composed  float16, bfloat16 and other devices in all other cases: need_weights, causal bottom right, causal and masked,");
        text.AppendLine("            a Bool mask and an added one at once, no keys, and on the CPU any mask or dropout; exact up to the type's rounding;");
        text.AppendLine("            memory O(Nq Nk)");
        return text.ToString();
    }

    private static string Version(Assembly assembly) =>
        assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0]
        ?? assembly.GetName().Version?.ToString()
        ?? "of unknown version";
}
