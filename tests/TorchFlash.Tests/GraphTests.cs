using TorchFlash.Attention;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>The node in the autograd graph.</summary>
public class GraphTests
{
    private static (Tensor Q, Tensor K, Tensor V, Tensor C) Small() => TestData.Operands(2, 2, 9, 9, 8, 8);

    private static Tensor Attend(Tensor q, Tensor k, Tensor v) => flash.nn.functional.scaled_dot_product_attention(q, k, v, is_causal: true);

    [Fact]
    public void NoNodeWithoutNeedForOne()
    {
        (Tensor q, Tensor k, Tensor v, _) = Small();
        using (no_grad())
            Assert.False(Attend(q, k, v).requires_grad);
        Assert.False(Attend(q.detach(), k.detach(), v.detach()).requires_grad);
        Assert.True(Attend(q.detach(), k, v.detach()).requires_grad);
    }

    [Fact]
    public void SameValueWithAndWithoutANode()
    {
        (Tensor q, Tensor k, Tensor v, _) = Small();
        using IDisposable noGrad = no_grad();
        Tensor without = Attend(q, k, v);
        using IDisposable withGrad = enable_grad();
        TestData.Identical(without, Attend(q, k, v));
    }

    [Fact]
    public void GradientsThatAreNotContiguous()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = Small();
        Tensor[] expected = TestData.Gradients(Reference.Attention(q, k, v, allowed: Reference.Causal(9, 9)), ones_like(c), q, k, v);
        ClearGradients(q, k, v);
        Attend(q, k, v).sum().backward(); // All strides 0.
        CheckGradients(expected, q, k, v);
        ClearGradients(q, k, v);
        Attend(q, k, v).transpose(2, 3).contiguous().view(-1).sum().backward(); // Transposed.
        CheckGradients(expected, q, k, v);
        ClearGradients(q, k, v);
        Attend(q, k, v).transpose(1, 2).reshape(2, 9, 16).sum().backward();
        CheckGradients(expected, q, k, v);
    }

    [Fact]
    public void RetainGraphAndASecondBackwardAccumulate()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = Small();
        Tensor[] once = TestData.Gradients(Attend(q, k, v), c, q, k, v);
        ClearGradients(q, k, v);
        Tensor loss = (Attend(q, k, v) * c).sum();
        loss.backward(retain_graph: true);
        loss.backward();
        CheckGradients([.. once.Select(g => g * 2)], q, k, v);
    }

    [Fact]
    public void TwoLossesFromOneOutput()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = Small();
        Tensor[] expected = TestData.Gradients(Attend(q, k, v), c + 1, q, k, v);
        ClearGradients(q, k, v);
        Tensor o = Attend(q, k, v);
        (o.sum() + (o * c).sum()).backward();
        CheckGradients(expected, q, k, v, 1e-12);
    }

    [Fact]
    public void StackedLayers()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = Small();
        Tensor mask = Reference.Causal(9, 9);
        Tensor inner = Reference.Attention(q, k, v, allowed: mask);
        Tensor[] expected = TestData.Gradients(Reference.Attention(inner, inner, inner, allowed: mask), c, q, k, v);
        inner = Attend(q, k, v);
        Tensor[] actual = TestData.Gradients(Attend(inner, inner, inner), c, q, k, v);
        for (int i = 0; i < 3; i++)
            TestData.Close(expected[i], actual[i], 1e-12);
    }

    [Fact]
    public void InsideADisposeScope()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = Small();
        Tensor[] expected = TestData.Gradients(Attend(q, k, v), c, q, k, v);
        ClearGradients(q, k, v);
        using (DisposeScope outer = NewDisposeScope())
        {
            Tensor o;
            using (NewDisposeScope())
                o = Attend(q, k, v).MoveToOuterDisposeScope();
            (o * c).sum().backward();
        }
        CheckGradients(expected, q, k, v);
    }

    // No test here fails in autograd.grad, of which TorchSharp lets no exception out: only backward() may.
    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    public void AFailingBackwardThrowsForOperandsOfOneElement(int dimensions)
    {
        long[] shape = [.. Enumerable.Repeat(1L, dimensions)];
        Tensor[] qkv = [.. Enumerable.Range(1, 3).Select(seed => TestData.Normal(seed, shape, requiresGrad: true))];
        Tensor scaled = qkv[1] * 1;
        Tensor loss = Attend(qkv[0], scaled, qkv[2]).sum();
        scaled.add_(1);
        Warnings(() => Assert.ThrowsAny<Exception>(() => loss.backward()));
        Assert.Contains("modified by an inplace operation", flash.last_backward_exception!.Message);
        Assert.All(qkv, leaf => Assert.Null(leaf.grad));
    }

    [Fact]
    public void AFailingBackwardOfTheWeightsThrowsForOperandsOfOneElement()
    {
        Tensor[] qkv = [.. Enumerable.Range(1, 3).Select(seed => TestData.Normal(seed, [1, 1, 1, 1], requiresGrad: true))];
        Tensor scaled = qkv[1] * 1;
        Tensor? weights = new AttentionCall(qkv[0], scaled, qkv[2]).Attend(new(Weights: true)).Weights;
        scaled.add_(1);
        Warnings(() => Assert.ThrowsAny<Exception>(() => weights!.sum().backward()));
        Assert.All(qkv, leaf => Assert.Null(leaf.grad));
    }

    [Fact]
    public void AnOperandChangedInPlaceIsAnErrorAndNotACrash()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = Small();
        Tensor scaled = q * 1;
        Tensor loss = (Attend(scaled, k, v) * c).sum();
        scaled.add_(1);
        string said = Warnings(() => Assert.ThrowsAny<Exception>(() => loss.backward()));
        Assert.Contains("modified by an inplace operation", said);
        Assert.Contains("modified by an inplace operation", flash.last_backward_exception!.Message);
        TestData.Gradients(Attend(q, k, v), c, q, k, v); // The next one works.
    }

    [Fact]
    public void AnOutputChangedInPlaceIsAnErrorAndNotACrash()
    {
        (Tensor q, Tensor k, Tensor v, _) = Small();
        Tensor o = Attend(q, k, v);
        o.add_(1); // Backward needs O as it was.
        string said = Warnings(() => Assert.ThrowsAny<Exception>(() => o.sum().backward()));
        Assert.Contains("modified by an inplace operation", said);
    }

    [Fact]
    public void AHandlerOfWarningsThatThrowsDoesNotEndTheProcess()
    {
        (Tensor q, Tensor k, Tensor v, _) = Small();
        Tensor o = Attend(q, k, v);
        o.add_(1);
        Action<string> before = flash.warn;
        flash.warn = _ => throw new InvalidOperationException();
        try
        {
            Assert.ThrowsAny<Exception>(() => o.sum().backward());
        }
        finally
        {
            flash.warn = before;
        }
    }

    [Fact]
    public void BackwardOnAnotherThread()
    {
        (Tensor q, Tensor k, Tensor v, Tensor c) = Small();
        Tensor[] expected = TestData.Gradients(Attend(q, k, v), c, q, k, v);
        ClearGradients(q, k, v);
        Tensor loss = (Attend(q, k, v) * c).sum();
        Thread thread = new(() => loss.backward());
        thread.Start();
        thread.Join();
        CheckGradients(expected, q, k, v);
    }

    private static string Warnings(Action action) => string.Join('\n', RouteTests.Warnings(action));

    private static void ClearGradients(params Tensor[] leaves)
    {
        foreach (Tensor leaf in leaves)
            leaf.grad = null;
    }

    private static void CheckGradients(Tensor[] expected, Tensor q, Tensor k, Tensor v, double tolerance = 1e-12)
    {
        TestData.Close(expected[0], q.grad!, tolerance, "dQ");
        TestData.Close(expected[1], k.grad!, tolerance, "dK");
        TestData.Close(expected[2], v.grad!, tolerance, "dV");
    }
}
