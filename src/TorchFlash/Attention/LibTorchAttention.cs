using TorchFlash.Kernels;
using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>libtorch's own attention, for calls that no engine of this project takes.</summary>
internal static class LibTorchAttention
{
    /// <summary>O, [B, H, Nq, d_v].</summary>
    public static Tensor Attend(AttentionCall call)
    {
        double defaultScale = AttentionProblem.DefaultScale((int)call.Query.shape[3]);
        Tensor query = call.Scale == defaultScale ? call.Query : call.Query * (call.Scale / defaultScale);
        return nn.functional.scaled_dot_product_attention(
            query, call.Key, call.Value, call.Allowed ?? call.Bias, call.Dropout, call.Causal == CausalMask.TopLeft);
    }
}
