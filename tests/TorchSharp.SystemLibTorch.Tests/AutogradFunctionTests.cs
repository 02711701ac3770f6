using TorchSharp;
using static TorchSharp.torch;

namespace TorchSharpTests;

public class AutogradFunctionTests
{
    // y = factor * x * w; factor is not a tensor.
    private sealed class ScaledProduct : autograd.SingleTensorFunction<ScaledProduct>
    {
        public static bool GradModeInForward;

        public override string Name => nameof(ScaledProduct);

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            GradModeInForward = is_grad_enabled();
            var (x, factor, w) = ((Tensor)vars[0], (double)vars[1], (Tensor)vars[2]);
            ctx.save_for_backward([x, w]);
            ctx.save_data("factor", factor);
            return factor * x * w;
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            List<Tensor> saved = ctx.get_saved_variables();
            double factor = (double)ctx.get_data("factor");
            return [factor * grad_output * saved[1], null!, factor * grad_output * saved[0]];
        }
    }

    [Fact]
    public void GradientsReachTensorArgumentsAndSkipOthers()
    {
        Tensor x = tensor(new[] { 1f, 2f }, requires_grad: true);
        Tensor w = tensor(new[] { 3f, 5f }, requires_grad: true);
        Tensor y = ScaledProduct.apply(x, 2.0, w);
        y.sum().backward();
        Assert.Equal(new[] { 6f, 20f }, y.data<float>().ToArray());
        Assert.Equal(new[] { 6f, 10f }, x.grad!.data<float>().ToArray());
        Assert.Equal(new[] { 2f, 4f }, w.grad!.data<float>().ToArray());
        Assert.False(ScaledProduct.GradModeInForward);
        Assert.True(is_grad_enabled());
    }
}
