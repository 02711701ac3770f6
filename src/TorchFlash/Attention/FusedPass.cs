using TorchFlash.Kernels;
using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>
/// What one fused forward pass is asked for and what it leaves behind besides O. Goes through the autograd functions as an
/// argument that is not a tensor, because a second output would cost memory for as long as the node lives.
/// </summary>
internal sealed class FusedPass(AttentionProblem problem)
{
    /// <summary>The engine's problem.</summary>
    public AttentionProblem Problem { get; } = problem;

    /// <summary>Q as the engine read it: the operand, or its contiguous copy.</summary>
    public Tensor? Query { get; set; }

    /// <summary>K as the engine read it.</summary>
    public Tensor? Key { get; set; }

    /// <summary>V as the engine read it.</summary>
    public Tensor? Value { get; set; }

    /// <summary>m, [B, H, Nq].</summary>
    public Tensor? Max { get; set; }

    /// <summary>l, [B, H, Nq].</summary>
    public Tensor? Sum { get; set; }
}
