using TorchFlash.Autograd;
using TorchFlash.Kernels;
using static TorchSharp.torch;
using static TorchSharp.torch.autograd;

namespace TorchFlash.Attention;

/// <summary>
/// W = 1/H sum over heads of P, [B, Nq, Nk], as one node of the graph. Arguments: Q, K and the <see cref="FusedPass"/> whose
/// forward pass has run. No pass holds more than a few matrices of the size of W, whatever the number of heads.
/// </summary>
internal sealed class AttentionWeightsFunction : SingleTensorFunction<AttentionWeightsFunction>
{
    private const string Problem = "problem";

    public override string Name => nameof(AttentionWeightsFunction);

    public override Tensor forward(AutogradContext ctx, params object[] vars)
    {
        FusedPass pass = (FusedPass)vars[2];
        Tensor weights = FusedAttention.AverageWeights(pass, (Tensor)vars[0], (Tensor)vars[1]);
        ctx.set_materialize_grads(false);
        ctx.save_data(Problem, pass.Problem);
        ctx.save_for_backward([pass.Query!, pass.Key!, pass.Max!, pass.Sum!]);
        return weights;
    }

    public override List<Tensor> backward(AutogradContext ctx, Tensor grad_output) => BackwardGuard.Run(grad_output, 2, 1, () =>
    {
        List<Tensor> saved = ctx.get_saved_variables();
        return Backward((AttentionProblem)ctx.get_data(Problem), saved[0], saved[1], saved[2], saved[3], grad_output);
    });

    private static List<Tensor> Backward(AttentionProblem problem, Tensor q, Tensor k, Tensor m, Tensor l, Tensor weightsGradient)
    {
        Tensor dQ = TensorMemory.EmptyInOrderOf(q, problem.HeadDim);
        Tensor dK = TensorMemory.EmptyInOrderOf(k, problem.HeadDim);
        using Tensor? masked = Masked(problem, q.device);
        // All in the type of the statistics: with scores rounded to 16 bits, e^(s - m) / l would not be P.
        using Tensor dP = weightsGradient.to(m.dtype) / problem.Heads; // The same for every head.
        for (int h = 0; h < problem.Heads; h++)
        {
            using var scope = NewDisposeScope();
            Tensor qh = q.select(1, h).to(m.dtype), kh = k.select(1, h).to(m.dtype); // [B, N, d]
            // P = e^(scale Q Kᵀ - |scale| m) / l
            Tensor p = matmul(qh * problem.Scale, kh.transpose(1, 2))
                .sub_((m.select(1, h) * Math.Abs(problem.Scale)).unsqueeze(-1)).exp_().div_(l.select(1, h).unsqueeze(-1));
            if (masked is not null)
                p = p.masked_fill_(masked, 0);
            // dS = P o (dP - rowsum(P o dP))
            Tensor dS = p * dP;
            dS = dS.sub_(p.mul_(dS.sum(-1L, keepdim: true)));
            // dQ = scale dS K, dK = scale dSᵀ Q
            dQ.select(1, h).copy_(matmul(dS, kh).mul_(problem.Scale));
            dK.select(1, h).copy_(matmul(dS.transpose(1, 2), qh).mul_(problem.Scale));
        }
        return [dQ, dK];
    }

    private static Tensor? Masked(AttentionProblem problem, Device device)
    {
        if (problem.Causal == CausalMask.None)
            return null;
        long offset = problem.Causal == CausalMask.BottomRight ? problem.KeyLength - problem.QueryLength : 0;
        using Tensor allowed = ComposedAttention.CausalMatrix(problem.QueryLength, problem.KeyLength, offset, device);
        return allowed.logical_not();
    }
}
