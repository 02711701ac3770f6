using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchSharpTests;

public class TensorTests
{
    [DllImport("LibTorchSharp")]
    private static extern IntPtr THSTensor_data(IntPtr tensor);

    [Fact]
    public void TheDataPointerIncludesTheStorageOffset()
    {
        Tensor whole = arange(10, float32), part = whole.narrow(0, 3, 4);
        Assert.Equal(3, part.storage_offset());
        Assert.Equal(THSTensor_data(whole.Handle) + 3 * sizeof(float), THSTensor_data(part.Handle));
        Assert.Equal([3f, 4f, 5f, 6f], part.Values());
        Assert.Equal(IntPtr.Zero, THSTensor_data(empty(0, 3).Handle));
    }

    [Fact]
    public void UnsafeCreateTensorTakesOverADecoupledHandle()
    {
        Tensor first = tensor([1f, 2f]);
        Tensor second = Tensor.UnsafeCreateTensor(first.DecoupleFromNativeHandle());
        Assert.True(first.IsInvalid);
        Assert.Equal([1f, 2f], second.Values());
    }

    [Fact]
    public void ShapesStridesAndTypes()
    {
        Tensor x = zeros(2, 3, 5, dtype: float64).transpose(0, 2);
        Assert.Equal([5L, 3L, 2L], x.shape);
        Assert.Equal([1L, 5L, 15L], x.stride());
        Assert.Equal(2, x.size(-1));
        Assert.Equal(15, x.stride(-1));
        Assert.False(x.is_contiguous());
        Assert.Equal((ScalarType.Float64, 8L, 30L), (x.dtype, x.element_size(), x.numel()));
        Assert.Equal("[5x3x2], type = Float64, device = cpu", x.ToString());
        Assert.Throws<ExternalException>(() => x.size(3));
    }

    [Fact]
    public void NativeErrorsKeepTheirMessage()
    {
        var error = Assert.Throws<ExternalException>(() => ones(2, 3).mm(ones(4, 5)));
        Assert.Contains("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)", error.Message);
    }

    [Fact]
    public void AnInvalidTensorSaysSo()
    {
        Tensor x = ones(2);
        x.Dispose();
        x.Dispose();
        Assert.True(x.IsInvalid);
        Assert.Throws<InvalidOperationException>(() => x.sum());
    }

    [Fact]
    public void ArithmeticMixesTensorsAndNumbers()
    {
        Tensor x = tensor([1f, 2f]), y = tensor([3f, 5f]);
        Assert.Equal([1f, 1.75f], ((x + y) / 4).Values());
        Assert.Equal([-1f, -2f], (1L - y + x).Values());
        Assert.Equal([2f, 1f], (2 / x).Values());
        Assert.Equal([1f, 1f], (y % 2).Values());
        Assert.Equal([2.5f, 4f], x.lerp(y + 1, tensor(0.5f)).Values());
        Assert.Equal([1f + 0.5f * 3, 2f + 0.5f * 10], x.addcmul(x, y, 0.5).Values());
        Assert.Equal([-2f, -2f], x.div(tensor([-0.75f, -1f]), RoundingMode.floor).Values());
        Assert.Same(x, x.add_(y, 2));
        Assert.Equal([7f, 12f], x.Values());
    }

    [Fact]
    public void IndexersReturnViewsAndSet()
    {
        Tensor x = arange(24, float32).reshape(2, 3, 4);
        Assert.Equal(17f, x[1, 1, 1].item<float>());
        Assert.Equal([8f, 9f, 10f, 11f], x[0, -1].Values());
        Assert.Equal([1f, 5f, 9f], x[0, TensorIndex.Colon, 1].Values());
        Assert.Equal([13f, 14f], x[1, 0, 1..3].Values());
        Assert.Equal([3f, 15f], x[TensorIndex.Ellipsis, 3][.., 0].Values());
        Assert.Equal([1L, 2L, 3L, 4L], x[TensorIndex.None].shape);
        Assert.Equal([4f, 23f], x[tensor([0L, 1L]), tensor([1L, 2L]), tensor([0L, 3L])].Values());
        Assert.Equal([22f, 23f], x[x > 21].Values());
        Assert.Equal([4f, 8f], x[0, TensorIndex.Tensor(tensor([1L, 2L])), 0].Values());

        x[0, 0, 0] = tensor(100f);
        x[1, .., 0] = tensor([-1f, -2f, -3f]);
        x[x > 22] = tensor(0f);
        Assert.Equal([0f, -1f, -2f, -3f, 0f], [x[0, 0, 0].item<float>(), .. x[1, .., 0].Values(), x[1, 2, 3].item<float>()]);
    }

    [Fact]
    public void ReductionsAndSelections()
    {
        Tensor x = tensor(new float[,] { { 1, 5, 3 }, { 9, 2, 4 } });
        Assert.Equal([9f, 15f], x.sum(1).Values());
        Assert.Equal([5f, 3.5f, 3.5f], x.mean([0]).Values());
        Assert.Equal((24f, 4f, 9f, 1f), (x.sum().item<float>(), x.mean().item<float>(), x.max().item<float>(), x.min().item<float>()));
        (Tensor values, Tensor indexes) = x.max(1);
        Assert.Equal([5f, 9f], values.Values());
        Assert.Equal([1L, 0L], indexes.data<long>().ToArray());
        Assert.Equal([5f, 3f, 9f, 4f], x.topk(2).values.Values());
        Assert.Equal([1f, 3f, 5f, 2f, 4f, 9f], x.sort().Values.Values());
        Assert.Equal([1f, 6f, 9f, 9f, 11f, 15f], x.cumsum(1).Values());
        Assert.Equal(Math.Sqrt(1 + 25 + 9 + 81 + 4 + 16), x.norm().item<float>(), 1e-4);
        Assert.Equal([1f, 9f], x.gather(1, tensor(new long[,] { { 0 }, { 0 } })).Values());
        Assert.Equal([0f, 5f, 0f, 9f, 0f, 0f], x.masked_fill(x < 5, 0).Values());
        Assert.True(x.softmax(-1).sum(-1).allclose(ones(2)));
        Assert.True(x.Equals(x.clone()) && !x.Equals(x + 1));
    }

    [Fact]
    public void JoiningAndSplitting()
    {
        Tensor x = arange(6, float32).view(2, 3);
        Assert.Equal([4L, 3L], cat([x, x]).shape);
        Assert.Equal([2L, 2L, 3L], stack([x, x], 1).shape);
        Assert.Equal([[0f, 3f], [1f, 4f], [2f, 5f]], x.split(1, 1).Select(part => part.contiguous().Values()).ToArray());
        Assert.Equal([1L, 2L], x.split([1, 2], 1).Select(part => part.size(1)));
        Assert.Equal(3, x.unbind(1).Length);
        Assert.True(einsum("ij,kj->ik", x, x).Equals(x.matmul(x.t())));
    }

    [Fact]
    public void ArraysKeepTheirShapeAndAreCopied()
    {
        var array = new float[,] { { 1, 2 }, { 3, 4 } };
        Tensor x = tensor(array), y = from_array(new long[] { 1, 2 }, float64), z = tensor(new List<int> { 1, 0 }, @bool);
        array[0, 0] = 9;
        Assert.Equal([1f, 2f, 3f, 4f], x.Values());
        Assert.Equal([1.0, 2.0], y.data<double>().ToArray());
        Assert.Equal([true, false], z.data<bool>().ToArray());
        Assert.Throws<ArgumentException>(() => tensor(new[] { 1f }, [2L]));
        Assert.Throws<ArgumentException>(() => x.data<double>());
        Assert.Throws<ArgumentException>(() => x.item<float>());
    }

    [Fact]
    public void AccessorsFollowStrides()
    {
        Tensor x = arange(6, float32).view(2, 3).t();
        var data = x.data<float>();
        Assert.Equal([0f, 3f, 1f, 4f, 2f, 5f], data.ToArray());
        Assert.Equal((4f, 4f), (data[3], data[1, 1]));
        data[2, 0] = 7;
        Assert.Equal(7f, x[2, 0].item<float>());
        Assert.Throws<IndexOutOfRangeException>(() => { _ = data[3, 0]; });
        Assert.Throws<IndexOutOfRangeException>(() => { _ = data[6]; });
        data.CopyFrom([10f, 11f], tensorIndex: 4);
        Assert.Equal([0f, 3f, 1f, 4f, 10f, 11f], data);
    }

    [Fact]
    public void StreamsCarryTheBytes()
    {
        Tensor x = rand(1000), y = empty(1000);
        using var stream = new MemoryStream();
        x.WriteBytesToStream(stream);
        stream.Position = 0;
        y.ReadBytesFromStream(stream);
        Assert.True(x.Equals(y));
        Assert.Throws<EndOfStreamException>(() => y.ReadBytesFromStream(stream));
    }

    [Fact]
    public void GradientModeNestsAndIsOfTheThread()
    {
        using (no_grad())
        {
            Assert.False(is_grad_enabled());
            using (enable_grad())
            {
                Assert.True(is_grad_enabled());
            }
            Assert.False(is_grad_enabled());
            bool other = false;
            var thread = new Thread(() => other = is_grad_enabled());
            thread.Start();
            thread.Join();
            Assert.True(other);
        }
        Assert.True(is_grad_enabled());
    }

    [Fact]
    public void ThreadsCanBeSet()
    {
        int before = get_num_threads();
        set_num_threads(1);
        Assert.Equal(1, get_num_threads());
        set_num_threads(before);
    }
}
