using TorchSharp;
using static TorchSharp.torch;

namespace TorchSharpTests;

public class DisposeScopeTests
{
    [Fact]
    public void AScopeDisposesOfWhatWasMadeInIt()
    {
        Tensor outside = ones(2), inside, moved, detached;
        using (DisposeScope outer = NewDisposeScope())
        {
            using (DisposeScope inner = NewDisposeScope())
            {
                inside = outside + 1;
                moved = (outside + 2).MoveToOuterDisposeScope();
                detached = (outside + 3).DetachFromDisposeScope();
                Assert.Equal(1, inner.DisposablesCount);
                Assert.Same(inner, CurrentDisposeScope);
            }
            Assert.True(inside.IsInvalid);
            Assert.False(moved.IsInvalid);
            Assert.True(outer.Contains(moved));
        }
        Assert.True(moved.IsInvalid);
        Assert.False(detached.IsInvalid);
        Assert.False(outside.IsInvalid);
        Assert.Null(CurrentDisposeScope);
    }

    [Fact]
    public void ScopesBelongToTheirThread()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor? other = null;
        var thread = new Thread(() => other = ones(2));
        thread.Start();
        thread.Join();
        Assert.Equal(0, scope.DisposablesCount);
        Assert.False(other!.IsInvalid);
    }

    [Fact]
    public void TensorsDisposedOfLeaveTheirScope()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor x = ones(2);
        x.Dispose();
        Assert.Equal(0, scope.DisposablesCount);
        Tensor y = ones(2), z = ones(2);
        scope.DisposeEverythingBut(y);
        Assert.Equal((false, true), (y.IsInvalid, z.IsInvalid));
    }

    [Fact]
    public void ADisposedScopeSaysSo()
    {
        DisposeScope scope = NewDisposeScope();
        scope.Dispose();
        scope.Dispose();
        Assert.Throws<ObjectDisposedException>(() => scope.Attach(ones(1)));
    }

    [Fact]
    public void WrappedExpressionsKeepOnlyTheirResult()
    {
        Support.Collect();
        long before = Bridge.LiveTensors();
        using Tensor result = WrappedTensorDisposeScope(() => (ones(3) + 1) * 2);
        Assert.Equal(before + 1, Bridge.LiveTensors());
        Assert.Equal([4f, 4f, 4f], result.Values());
    }
}
