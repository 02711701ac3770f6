using TorchFlash.Kernels;
using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>libtorch's own attention, for tensors that no engine of this project takes yet. Says so once for each kind.</summary>
internal static class LibTorchAttention
{
    private static readonly HashSet<string> s_announced = [];

    /// <summary>O, [B, H, Nq, d_v].</summary>
    public static Tensor Attend(AttentionCall call)
    {
        Announce($"{call.Query.dtype} tensors on {call.Query.device_type}");
        double defaultScale = AttentionProblem.DefaultScale((int)call.Query.shape[3]);
        Tensor query = call.Scale == defaultScale ? call.Query : call.Query * (call.Scale / defaultScale);
        return nn.functional.scaled_dot_product_attention(
            query, call.Key, call.Value, call.Allowed ?? call.Bias, call.Dropout, call.Causal == CausalMask.TopLeft);
    }

    private static void Announce(string kind)
    {
        lock (s_announced)
        {
            if (!s_announced.Add(kind))
                return;
        }
        flash.warn($"TorchFlash: no engine for {kind} yet; libtorch's own attention is used.");
    }
}
