using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchSharpTests;

/// <summary>Managed functions with gradients of their own, on libtorch's real autograd engine.</summary>
public class AutogradFunctionTests
{
    /// <summary>y = factor x w; factor is not a tensor.</summary>
    private sealed class ScaledProduct : autograd.SingleTensorFunction<ScaledProduct>
    {
        public static bool GradModeInForward { get; private set; }

        public static int BackwardThread { get; private set; }

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
            BackwardThread = Environment.CurrentManagedThreadId;
            List<Tensor> saved = ctx.get_saved_variables();
            double factor = (double)ctx.get_data("factor");
            return [factor * grad_output * saved[1], null!, factor * grad_output * saved[0]];
        }
    }

    /// <summary>(2 x, 3 x), recording which gradients came in undefined.</summary>
    private sealed class TwoOutputs : autograd.MultiTensorFunction<TwoOutputs>
    {
        public static bool[] Undefined { get; private set; } = [];

        public override string Name => nameof(TwoOutputs);

        public override List<Tensor> forward(autograd.AutogradContext ctx, params object[] vars)
        {
            var x = (Tensor)vars[0];
            ctx.set_materialize_grads((bool)vars[1]);
            return [2 * x, 3 * x];
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, List<Tensor> grad_outputs)
        {
            Undefined = grad_outputs.Select(gradient => gradient.IsInvalid).ToArray();
            var gradient = zeros(2);
            gradient = grad_outputs[0].IsInvalid ? gradient : gradient + 2 * grad_outputs[0];
            gradient = grad_outputs[1].IsInvalid ? gradient : gradient + 3 * grad_outputs[1];
            return [gradient, null!];
        }
    }

    /// <summary>exp(x), from its saved output.</summary>
    private sealed class Exponential : autograd.SingleTensorFunction<Exponential>
    {
        public override string Name => nameof(Exponential);

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            Tensor y = ((Tensor)vars[0]).exp();
            ctx.save_for_backward([y, null!]);
            return y;
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            List<Tensor> saved = ctx.get_saved_variables();
            Assert.Null(saved[1]);
            return [grad_output * saved[0]];
        }
    }

    /// <summary>The identity, whose forward and backward do what the test says.</summary>
    private sealed class Custom : autograd.SingleTensorFunction<Custom>
    {
        public static Func<autograd.AutogradContext, Tensor, Tensor> Forward { get; set; } = (_, x) => x.clone();

        public static Func<autograd.AutogradContext, Tensor, List<Tensor>> Backward { get; set; } = (_, g) => [g];

        public override string Name => nameof(Custom);

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars) => Forward(ctx, (Tensor)vars[0]);

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) => Backward(ctx, grad_output);
    }

    private static Tensor Leaf(params float[] values) => tensor(values, requires_grad: true);

    private static Tensor ApplyCustom(
        Tensor x, Func<autograd.AutogradContext, Tensor, Tensor>? forward = null,
        Func<autograd.AutogradContext, Tensor, List<Tensor>>? backward = null)
    {
        Custom.Forward = forward ?? ((_, input) => input.clone());
        Custom.Backward = backward ?? ((_, gradient) => [gradient]);
        return Custom.apply(x);
    }

    [Fact]
    public void GradientsReachTensorArgumentsAndSkipOthers()
    {
        Tensor x = Leaf(1, 2), w = Leaf(3, 5);
        Tensor y = ScaledProduct.apply(x, 2.0, w);
        y.sum().backward();
        Assert.Equal([6f, 20f], y.Values());
        Assert.Equal([6f, 10f], x.grad!.Values());
        Assert.Equal([2f, 4f], w.grad!.Values());
    }

    [Fact]
    public void ForwardRunsWithGradientRecordingOff()
    {
        ScaledProduct.apply(Leaf(1), 2.0, Leaf(3));
        Assert.False(ScaledProduct.GradModeInForward);
        Assert.True(is_grad_enabled());
    }

    [Fact]
    public void WithoutGradientsThereIsNoNode()
    {
        Support.Collect();
        long before = Bridge.LiveFunctions();
        Tensor y = ScaledProduct.apply(tensor(1f), 2.0, tensor(3f));
        Assert.False(y.requires_grad);
        using (no_grad())
        {
            Assert.False(ScaledProduct.apply(Leaf(1), 2.0, Leaf(3)).requires_grad);
        }
        Assert.Equal(before, Bridge.LiveFunctions());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void UndefinedGradientsAreMaterialisedUnlessTurnedOff(bool materialise)
    {
        Tensor x = Leaf(1, 2);
        List<Tensor> y = TwoOutputs.apply(x, materialise);
        y[1].sum().backward();
        Assert.Equal([!materialise, false], TwoOutputs.Undefined);
        Assert.Equal([3f, 3f], x.grad!.Values());
    }

    [Fact]
    public void SeveralOutputsEachHaveAGradient()
    {
        Tensor x = Leaf(1, 2);
        List<Tensor> y = TwoOutputs.apply(x, true);
        (y[0].sum() + 10 * y[1].sum()).backward();
        Assert.Equal([32f, 32f], x.grad!.Values());
    }

    [Fact]
    public void ASavedOutputAndASavedNullComeBack()
    {
        Tensor x = Leaf(0, 1);
        Tensor y = Exponential.apply(x);
        y.sum().backward();
        Assert.Equal(y.Values(), x.grad!.Values());
    }

    [Fact]
    public void ARetainedGraphRunsTwice()
    {
        Tensor x = Leaf(1, 2), w = Leaf(3, 5);
        Tensor y = ScaledProduct.apply(x, 2.0, w).sum();
        y.backward(retain_graph: true);
        y.backward();
        Assert.Equal([12f, 20f], x.grad!.Values());
    }

    /// <summary>TorchSharp's node frees nothing after backward, retained or not.</summary>
    [Fact]
    public void ASecondBackwardRunsOnWhatWasSaved()
    {
        Tensor x = Leaf(1), w = Leaf(3);
        Tensor y = ScaledProduct.apply(x, 2.0, w).sum();
        y.backward();
        y.backward();
        Assert.Equal([12f], x.grad!.Values());
    }

    [Fact]
    public void AChangedSavedTensorIsDetected()
    {
        string? message = null;
        Tensor w = tensor(3f);
        Tensor y = ApplyCustom(
            Leaf(1),
            (ctx, input) =>
            {
                ctx.save_for_backward([w]);
                return input.clone();
            },
            (ctx, gradient) =>
            {
                message = Assert.Throws<ExternalException>(ctx.get_saved_variables).Message;
                return [gradient];
            });
        w.add_(1);
        y.backward();
        Assert.Contains("modified by an inplace operation", message);
    }

    [Fact]
    public void BackwardRunsOnTheThreadThatCallsIt()
    {
        Tensor x = Leaf(1, 2), w = Leaf(3, 5);
        Tensor y = ScaledProduct.apply(x, 2.0, w).sum();
        var thread = new Thread(() => y.backward());
        thread.Start();
        thread.Join();
        Assert.Equal(thread.ManagedThreadId, ScaledProduct.BackwardThread);
        Assert.Equal([6f, 10f], x.grad!.Values());
    }

    [Fact]
    public void GradientsOfGradientsFlowThroughBackward()
    {
        Tensor x = Leaf(2);
        Tensor y = ScaledProduct.apply(x, 1.0, x * x); // x³
        Tensor first = autograd.grad([y], [x], retain_graph: true, create_graph: true)[0];
        Tensor second = autograd.grad([first], [x])[0];
        Assert.Equal([12f], first.Values());
        Assert.Equal([12f], second.Values());
    }

    [Fact]
    public void NonDifferentiableOutputsRequireNoGradient()
    {
        Tensor x = Leaf(1, 2);
        Tensor y = ApplyCustom(x, (ctx, input) =>
        {
            Tensor result = input.clone();
            ctx.mark_non_differentiable([result]);
            return result;
        });
        Assert.False(y.requires_grad);
    }

    [Fact]
    public void DirtyInputsKeepTheirHistory()
    {
        Tensor x = Leaf(1, 2);
        Tensor z = x * 3;
        Tensor y = ApplyCustom(
            z,
            (ctx, input) =>
            {
                input.mul_(5);
                ctx.mark_dirty([input]);
                return input;
            },
            (_, gradient) => [gradient * 5]);
        y.sum().backward();
        Assert.Equal([15f, 30f], z.Values());
        Assert.Equal([15f, 15f], x.grad!.Values());
    }

    [Fact]
    public void ForwardsExceptionReachesTheCaller()
    {
        var error = Assert.Throws<ArgumentException>(
            () => ApplyCustom(Leaf(1), (_, _) => throw new ArgumentException("bad input", "x")));
        Assert.Equal("x", error.ParamName);
    }

    [Fact]
    public void AGradientOfTheWrongShapeIsRefused()
    {
        Tensor shape = ApplyCustom(Leaf(1, 2), backward: (_, _) => [empty(0, 7, 7)]);
        Assert.Contains("invalid gradient at index 0", Assert.Throws<ExternalException>(() => shape.sum().backward()).Message);
    }

    [Fact]
    public void NullAndDisposedArgumentsOfGradAreRefusedByManagedCode()
    {
        Tensor x = Leaf(1), y = x * 2, disposed = ones(1);
        disposed.Dispose();
        Assert.Throws<NullReferenceException>(() => autograd.grad([y], [null!]));
        Assert.Throws<NullReferenceException>(() => autograd.grad([y], [x], [null!]));
        Assert.Throws<InvalidOperationException>(() => autograd.grad([disposed], [x]));
        Assert.Throws<InvalidOperationException>(() => autograd.backward([y], [disposed]));
    }

    /// <summary>What ends the process in TorchSharp: nothing in its native code catches it.</summary>
    public static TheoryData<string, string> Fatal => new()
    {
        { nameof(GradOfAnUnusedInput), "appears to not have been used" },
        { nameof(GradWithAGradientOfTheWrongShape), "invalid gradient at index 0" },
        { nameof(ExceptionInBackward), "no gradient today" },
        { nameof(NativeErrorInBackward), "cannot be multiplied" },
        { nameof(ChangedSavedTensor), "modified by an inplace operation" },
        { nameof(WrongNumberOfGradients), "incorrect number of gradients (expected 1), got 0" },
        { nameof(UndefinedGradientOfAnOutputWhoseScopeHasEnded), "empty handle" },
        { nameof(ProductOfMatricesThatDoNotFit), "cannot be multiplied" },
    };

    [Theory]
    [MemberData(nameof(Fatal))]
    public void TheProcessEnds(string scenario, string message)
    {
        Child child = Child.Run(typeof(AutogradFunctionTests).GetMethod(scenario, BindingFlags.Static | BindingFlags.NonPublic)!.CreateDelegate<Action>());
        Assert.Equal(Child.Aborted, child.ExitCode);
        Assert.Contains(message, child.Output);
    }

    private static void GradOfAnUnusedInput() => Survive(() => autograd.grad([Leaf(1) * 2], [Leaf(1)]));

    private static void GradWithAGradientOfTheWrongShape()
    {
        Tensor x = Leaf(1, 2), y = ApplyCustom(x, backward: (_, _) => [empty(0, 7, 7)]);
        Survive(() => autograd.grad([y.sum()], [x]));
    }

    private static void ExceptionInBackward() =>
        Survive(ApplyCustom(Leaf(1), backward: (_, _) => throw new InvalidOperationException("no gradient today")).backward);

    private static void NativeErrorInBackward() =>
        Survive(ApplyCustom(Leaf(1), backward: (_, _) => [ones(2, 3).mm(ones(4, 5))]).backward);

    private static void ChangedSavedTensor()
    {
        Tensor w = tensor(3f), y = ScaledProduct.apply(Leaf(1), 2.0, w);
        w.add_(1);
        Survive(y.backward);
    }

    private static void WrongNumberOfGradients() => Survive(ApplyCustom(Leaf(1), backward: (_, _) => []).backward);

    private static void UndefinedGradientOfAnOutputWhoseScopeHasEnded()
    {
        Tensor y;
        using (NewDisposeScope())
        {
            y = TwoOutputs.apply(Leaf(1, 2), true)[1].MoveToOuterDisposeScope();
        }
        Survive(y.sum().backward);
    }

    private static void ProductOfMatricesThatDoNotFit() => Survive(() => ones(2, 3).matmul(ones(4, 5)));

    private static void Survive(Action action)
    {
        try
        {
            action();
        }
        catch (Exception)
        {
            Environment.Exit(3);
        }
    }

    [Fact]
    public void TheContextIsNotValidOutsideForwardAndBackward()
    {
        autograd.AutogradContext? kept = null;
        ApplyCustom(Leaf(1), (ctx, input) =>
        {
            kept = ctx;
            return input.clone();
        });
        Assert.Throws<InvalidOperationException>(() => kept!.get_saved_variables());
    }

    [Fact]
    public void ANodeThatNeverRanIsCollected()
    {
        Support.Collect();
        long before = Bridge.LiveFunctions();
        Abandon();
        Support.Collect();
        Assert.Equal(before, Bridge.LiveFunctions());

        [MethodImpl(MethodImplOptions.NoInlining)]
        static void Abandon()
        {
            ScaledProduct.apply(Leaf(1), 2.0, Leaf(3));
            Assert.Throws<ArgumentException>(() => ApplyCustom(Leaf(1), (_, _) => throw new ArgumentException()));
        }
    }

    /// <summary>
    /// The node holds what was saved, the saved output holds the node: forward's own object of it must go, as in TorchSharp.
    /// </summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ASavedOutputKeepsItsNodeUnlessItIsDisposedOf(bool disposed)
    {
        Support.Collect();
        long before = Bridge.LiveFunctions();
        Abandon(disposed);
        Support.Collect();
        Assert.Equal(before + (disposed ? 0 : 1), Bridge.LiveFunctions());

        [MethodImpl(MethodImplOptions.NoInlining)]
        static void Abandon(bool disposed)
        {
            Tensor? own = null;
            ApplyCustom(Leaf(1, 2), (ctx, input) =>
            {
                own = input.clone();
                ctx.save_for_backward([own]);
                return own;
            });
            if (disposed)
            {
                own!.Dispose();
            }
            Custom.Forward = (_, x) => x.clone(); // the delegate holds it too
        }
    }

    [Fact]
    public void AThousandIterationsLeaveNothingBehind()
    {
        static void Iterate(Tensor x, Tensor w)
        {
            using DisposeScope scope = NewDisposeScope();
            Tensor y = Exponential.apply(ScaledProduct.apply(x, 2.0, w)).sum();
            y.backward();
            x.grad = null;
        }

        Tensor x = rand(64, 1024, requires_grad: true), w = rand(64, 1024); // 256 KiB each
        for (int i = 0; i < 20; i++)
        {
            Iterate(x, w);
        }
        Support.Collect();
        long tensors = Bridge.LiveTensors(), functions = Bridge.LiveFunctions(), total = Tensor.TotalCount;
        long memory = Environment.WorkingSet;
        for (int i = 0; i < 1000; i++)
        {
            Iterate(x, w);
        }
        Assert.Equal(functions, Bridge.LiveFunctions());
        Support.Collect();
        Assert.Equal(tensors, Bridge.LiveTensors());
        Assert.Equal(total, Tensor.TotalCount);
        Assert.True(Environment.WorkingSet - memory < 64 << 20, "an iteration may not keep one of its 256 KiB tensors");
    }
}
