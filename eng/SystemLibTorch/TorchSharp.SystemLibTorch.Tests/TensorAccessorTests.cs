using TorchSharp;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace TorchSharpTests;

public class TensorAccessorTests
{
    private static TensorAccessor<float> Row() => tensor([1f, 2f, 3f]).data<float>();

    [Theory]
    [InlineData(-1)]
    [InlineData(3)]
    [InlineData(long.MinValue)]
    [InlineData(long.MaxValue)]
    public void CopiesStartInsideTheTensor(long index)
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => Row().CopyTo(new float[9], 0, index));
        Assert.Throws<ArgumentOutOfRangeException>(() => Row().CopyTo(new float[9].AsSpan(), 0, index));
        Assert.Throws<ArgumentOutOfRangeException>(() => Row().CopyFrom(new float[9], 0, index));
        Assert.Throws<ArgumentOutOfRangeException>(() => Row().CopyFrom(new ReadOnlySpan<float>(new float[9]), 0, index));
    }

    [Fact]
    public void CopiesStartAtAnIndexOfTheArrayAndEndWithTheShorterOne()
    {
        Assert.Throws<IndexOutOfRangeException>(() => Row().CopyTo(new float[3], -1));
        Assert.Throws<IndexOutOfRangeException>(() => Row().CopyFrom(new float[3], -1));
        float[] array = new float[3];
        Row().CopyTo(array, 3);
        Row().CopyTo(array, int.MaxValue);
        Assert.Equal([0f, 0f, 0f], array);
        Row().CopyTo(array, 2, 1);
        Assert.Equal([0f, 0f, 2f], array);
        Row().CopyTo(array, 0, 1);
        Assert.Equal([2f, 3f, 2f], array);
        TensorAccessor<float> target = Row();
        target.CopyFrom([7f, 8f, 9f], 1, 2);
        Assert.Equal([1f, 2f, 8f], target.ToArray());
    }

    [Fact]
    public void CopiesFollowTheStrides()
    {
        Tensor x = arange(6, dtype: float32).view(2, 3).t();
        float[] array = new float[4];
        x.data<float>().CopyTo(array, 1, 2);
        Assert.Equal([0f, 1f, 4f, 2f], array);
        x.data<float>().CopyFrom([10f, 20f], 0, 4);
        Assert.Equal([0f, 3f, 1f, 4f, 10f, 20f], x.data<float>().ToArray());
    }

    /// <summary>Which exception it is differs between reading and writing in TorchSharp, and so here.</summary>
    [Fact]
    public void IndicesAreChecked()
    {
        TensorAccessor<float> row = Row(), square = zeros(2, 2).data<float>();
        Assert.Throws<IndexOutOfRangeException>(() => row[3]);
        Assert.Throws<ArgumentOutOfRangeException>(() => row[-1]);
        Assert.Throws<IndexOutOfRangeException>(() => row[3] = 1);
        Assert.Throws<IndexOutOfRangeException>(() => row[-1] = 1);
        Assert.Equal(0f, square[3]);
        Assert.Throws<IndexOutOfRangeException>(() => square[3] = 1); // a single index is for reading only
        Assert.Throws<IndexOutOfRangeException>(() => square[0, 2]);
        Assert.Throws<IndexOutOfRangeException>(() => square[0, -1] = 1);
        Assert.Throws<IndexOutOfRangeException>(() => square[0, 0, 0]);
    }

    [Fact]
    public void AnEmptyTensorHasNowhereToStart()
    {
        Assert.Empty(zeros(0).data<float>().ToArray());
        Assert.Empty(zeros(0, 3).data<float>());
        Assert.Throws<ArgumentOutOfRangeException>(() => zeros(0, 3).data<float>().ToArray());
        Assert.Throws<ArgumentOutOfRangeException>(() => zeros(0).data<float>().CopyTo(new float[1]));
    }

    [Fact]
    public void ADisposedAccessorIsRefused()
    {
        TensorAccessor<float> row = Row();
        row.Dispose();
        Refused<ObjectDisposedException>(row);
        Assert.Equal(0, row.Count);
    }

    [Fact]
    public void AnAccessorOfADisposedTensorIsRefused()
    {
        Tensor x = tensor([1f, 2f, 3f]);
        TensorAccessor<float> row = x.data<float>();
        IEnumerator<float> enumerator = row.GetEnumerator();
        Assert.True(enumerator.MoveNext());
        x.Dispose();
        Refused<InvalidOperationException>(row);
        Assert.Throws<InvalidOperationException>(() => enumerator.MoveNext());
    }

    private static void Refused<TException>(TensorAccessor<float> accessor)
        where TException : Exception
    {
        Assert.Throws<TException>(() => accessor[0]);
        Assert.Throws<TException>(() => accessor[0] = 1);
        Assert.Throws<TException>(() => accessor.ToArray());
        Assert.Throws<TException>(() => accessor.CopyTo(new float[3]));
        Assert.Throws<TException>(() => accessor.CopyFrom(new float[3]));
    }
}
