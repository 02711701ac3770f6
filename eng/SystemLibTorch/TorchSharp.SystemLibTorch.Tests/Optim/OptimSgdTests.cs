using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace TorchSharpTests;

public sealed class OptimSgdTests
{
    [Theory]
    [InlineData(0, 0, 0, false, false)]
    [InlineData(0, 0, 0.1, false, true)]
    [InlineData(0.9, 0.2, 0.1, false, false)]
    [InlineData(0.9, 0, 0.1, true, false)]
    public void FollowsItsFormula(double momentum, double dampening, double decay, bool nesterov, bool maximize)
    {
        const double lr = 0.1;
        using var x = nn.Parameter(tensor(new[] { 2.0 }));
        using var optimizer = optim.SGD([x], lr, momentum, dampening, decay, nesterov, maximize);
        double theta = 2, buffer = 0;
        for (var t = 0; t < 10; t++)
        {
            using var scope = NewDisposeScope();
            using var loss = optimizer.step(() =>
            {
                optimizer.zero_grad();
                var value = x.square().sum();
                value.backward();
                return value;
            });
            Assert.Equal(theta * theta, loss!.ToDouble(), 1e-12);

            var g = (2 * theta) + (decay * theta);
            buffer = t == 0 ? g : (momentum * buffer) + ((1 - dampening) * g);
            var step = momentum == 0 ? g : nesterov ? g + (momentum * buffer) : buffer;
            theta += maximize ? lr * step : -lr * step;
            Assert.Equal(theta, x.item<double>(), 1e-12);
        }
    }

    [Fact]
    public void MomentumIsSavedAndLoaded()
    {
        using var x = nn.Parameter(tensor(new[] { 2.0 }));
        using var optimizer = optim.SGD([x], 0.1, momentum: 0.9);
        Step();
        using var stream = new MemoryStream();
        optimizer.save_state_dict(new BinaryWriter(stream));
        var saved = ((SGD.State)optimizer.state_dict().State[0]).momentum_buffer!.item<double>();
        Step();
        Assert.NotEqual(saved, ((SGD.State)optimizer.state_dict().State[0]).momentum_buffer!.item<double>());
        stream.Position = 0;
        optimizer.load_state_dict(new BinaryReader(stream));
        Assert.Equal(saved, ((SGD.State)optimizer.state_dict().State[0]).momentum_buffer!.item<double>());

        void Step()
        {
            using var scope = NewDisposeScope();
            optimizer.zero_grad();
            x.square().sum().backward();
            optimizer.step();
        }
    }

    [Fact]
    public void ParametersWithoutAGradientStay()
    {
        using var x = nn.Parameter(ones(1));
        using var optimizer = optim.SGD([x], 1, weight_decay: 1);
        optimizer.step();
        Assert.Equal(1, x.item<float>());
        Assert.Throws<ArgumentException>(() => optim.SGD([x], 1, nesterov: true));
    }

    [Fact]
    public void LambdaLRScalesTheInitialRates()
    {
        using var x = nn.Parameter(ones(1));
        using var y = nn.Parameter(ones(1));
        using var optimizer = optim.SGD([new SGD.ParamGroup([x], lr: 1), new SGD.ParamGroup([y], lr: 10)], 5);
        var schedule = optim.lr_scheduler.LambdaLR(optimizer, epoch => 1.0 / (1 + epoch));
        Assert.Equal([1, 10], schedule.get_last_lr());
        schedule.step();
        Assert.Equal([0.5, 5], optimizer.ParamGroups.Select(group => group.LearningRate));
        schedule.step(3);
        Assert.Equal([0.25, 2.5], schedule.get_last_lr());
    }
}
