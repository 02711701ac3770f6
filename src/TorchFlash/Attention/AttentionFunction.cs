using TorchFlash.Autograd;
using TorchFlash.Kernels;
using static TorchSharp.torch;
using static TorchSharp.torch.autograd;

namespace TorchFlash.Attention;

/// <summary>
/// O = softmax(scale Q Kᵀ) V as one node of the graph. Arguments: Q, K, V and the <see cref="FusedPass"/>. Saves Q, K, V, O and,
/// for every row, m and l, from which the backward pass recomputes S and P tile by tile.
/// </summary>
internal sealed class AttentionFunction : SingleTensorFunction<AttentionFunction>
{
    private const string Problem = "problem";

    public override string Name => nameof(AttentionFunction);

    public override Tensor forward(AutogradContext ctx, params object[] vars)
    {
        FusedPass pass = (FusedPass)vars[3];
        Tensor output = FusedAttention.Forward(pass, (Tensor)vars[0], (Tensor)vars[1], (Tensor)vars[2]);
        ctx.set_materialize_grads(false);
        ctx.save_data(Problem, pass.Problem);
        ctx.save_for_backward([pass.Query!, pass.Key!, pass.Value!, output, pass.Max!, pass.Sum!]);
        return output;
    }

    public override List<Tensor> backward(AutogradContext ctx, Tensor grad_output) => BackwardGuard.Run(grad_output, 3, 1, () =>
    {
        List<Tensor> saved = ctx.get_saved_variables();
        (Tensor dQ, Tensor dK, Tensor dV) = FusedAttention.Backward(
            (AttentionProblem)ctx.get_data(Problem), saved[0], saved[1], saved[2], saved[3], saved[4], saved[5], grad_output);
        return [dQ, dK, dV];
    });
}
