using TorchFlash.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>Who computes an attention.</summary>
internal enum AttentionRoute
{
    /// <summary>One of this project's engines.</summary>
    Fused,

    /// <summary>Matmul, softmax, matmul of libtorch with the semantics of the fused path.</summary>
    Composed,

    /// <summary>libtorch's own attention.</summary>
    LibTorch,
}

/// <summary>One attention over [B, H, N, d] operands, checked and broadcast: where every route starts from.</summary>
internal sealed class AttentionCall
{
    /// <summary>Q, [B, H, Nq, d].</summary>
    public required Tensor Query { get; init; }

    /// <summary>K, [B, H, Nk, d].</summary>
    public required Tensor Key { get; init; }

    /// <summary>V, [B, H, Nk, d_v].</summary>
    public required Tensor Value { get; init; }

    /// <summary>Bool, broadcasts to [B, H, Nq, Nk]: true = may attend.</summary>
    public Tensor? Allowed { get; init; }

    /// <summary>Added to the scores, broadcasts to [B, H, Nq, Nk].</summary>
    public Tensor? Bias { get; init; }

    /// <summary>Which keys a query may attend to by position.</summary>
    public CausalMask Causal { get; init; }

    /// <summary>Factor of Q Kᵀ.</summary>
    public required double Scale { get; init; }

    /// <summary>Probability with which a weight is dropped.</summary>
    public double Dropout { get; init; }

    /// <summary>Nq.</summary>
    public long QueryLength => Query.shape[2];

    /// <summary>Nk.</summary>
    public long KeyLength => Key.shape[2];

    /// <summary>The route for the output alone.</summary>
    public AttentionRoute Route
    {
        get
        {
            bool masked = Allowed is not null || Bias is not null;
            bool plain = !masked && Dropout == 0;
            if (HasEngine)
                return plain ? AttentionRoute.Fused : AttentionRoute.Composed;
            // libtorch takes one mask: Bool, added, or causal aligned top left; what it makes of no keys depends on its version.
            bool oneMask = Causal switch
            {
                CausalMask.None => Allowed is null || Bias is null,
                CausalMask.TopLeft => !masked,
                _ => false,
            };
            return oneMask && (plain || Query.device_type != DeviceType.CPU) && KeyLength > 0 ? AttentionRoute.LibTorch : AttentionRoute.Composed;
        }
    }

    /// <summary>O, [B, H, Nq, d_v].</summary>
    public Tensor Attend() => Route switch
    {
        AttentionRoute.Fused => FusedAttention.Attend(this),
        AttentionRoute.LibTorch => LibTorchAttention.Attend(this),
        _ => AttendComposed().Output,
    };

    /// <summary>O, [B, H, Nq, d_v], and the weights averaged over heads, [B, Nq, Nk].</summary>
    public (Tensor Output, Tensor Weights) AttendWithWeights()
    {
        if (Route == AttentionRoute.Fused)
            return FusedAttention.AttendWithWeights(this);
        (Tensor output, Tensor weights) = AttendComposed();
        return (output, weights.mean([1L]));
    }

    /// <summary>Whether an engine takes tensors of this type on this device at all.</summary>
    private bool HasEngine => Query.device_type == DeviceType.CPU && Query.dtype is ScalarType.Float32 or ScalarType.Float64;

    private (Tensor Output, Tensor Weights) AttendComposed()
    {
        if (!HasEngine)
            FallBack.Announce(this, "composed of libtorch operators, O(Nq Nk) memory, where libtorch's own attention does not fit either; see flash.describe()");
        return ComposedAttention.Attend(this);
    }
}
