using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchSharpTests;

/// <summary>torch.cuda, with and without a GPU.</summary>
public class CudaTests
{
    [Fact]
    public void AvailabilityIsTheNumberOfDevices()
    {
        Assert.Equal(cuda.device_count() > 0, cuda.is_available());
        Assert.Equal(cuda.is_available(), cuda_is_available());
        Assert.Equal(cuda.is_available(), TryInitializeDeviceType(DeviceType.CUDA));
        if (!cuda.is_available())
            Assert.False(cuda.is_cudnn_available());
    }

    [Fact]
    public void SeedingIsOfNoEffectWithoutADevice()
    {
        cuda.manual_seed(1);
        cuda.manual_seed_all(1);
    }

    [Fact]
    public void SynchronisingWhatIsNotThereIsRefused()
    {
        if (cuda.is_available())
        {
            cuda.synchronize();
            cuda.synchronize(device("cuda:0"));
        }
        Assert.Throws<ExternalException>(() => cuda.synchronize(new Device(DeviceType.CUDA, 100)));
    }

    [Fact]
    public void TensorsMoveToADeviceAndBack()
    {
        if (!cuda.is_available())
        {
            Assert.Throws<InvalidOperationException>(() => zeros(2).cuda());
            Assert.Throws<InvalidOperationException>(() => zeros(2).to("cuda:0"));
            Assert.Throws<InvalidOperationException>(() => zeros(2, device: device("cuda:0")));
            return;
        }
        Tensor x = randn(3, 4, dtype: ScalarType.BFloat16, device: CUDA);
        Assert.Equal((DeviceType.CUDA, 0), (x.device_type, x.device_index));
        Tensor y = x.cpu().to(device("cuda:0")).to(ScalarType.Float32);
        Assert.True((x.@float() - y).abs().max().item<float>() == 0);
    }

    [Fact]
    public void OperatorsMayReturnUndefinedTensorsAndNumbersAndTakeListsOfBools()
    {
        Tensor x = randn([4, 3, 2], ScalarType.Float64), weight = ones([2], ScalarType.Float64);
        object[] forward = Operator.CallMixed("native_layer_norm", "", x, new long[] { 2 }, weight, null, 1e-5);
        Assert.All(forward, value => Assert.IsType<Tensor>(value));
        object[] backward = Operator.CallMixed(
            "native_layer_norm_backward", "", ones_like(x), x, new long[] { 2 }, forward[1], forward[2], weight, null, new[] { true, false, false });
        Assert.IsType<Tensor>(backward[0]);
        Assert.Same(Operator.Undefined, backward[1]);
        Assert.Same(Operator.Undefined, backward[2]);
        // Where a Tensor? is expected, the undefined tensor stands for none.
        Assert.Equal(forward[0].ToString(), Operator.CallMixed("native_layer_norm", "", x, new long[] { 2 }, weight, Operator.Undefined, 1e-5)[0].ToString());
    }
}
