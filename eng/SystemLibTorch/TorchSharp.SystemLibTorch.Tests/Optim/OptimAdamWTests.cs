using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace TorchSharpTests;

public sealed class OptimAdamWTests
{
    private const int Steps = 20;
    private static readonly double[] Start = [0.7, -1.3, 2.1, -0.4];

    // The gradient of Σ a x² + sin x: different in size and sign for each element, and moving with x.
    private static Tensor Loss(Tensor x)
    {
        using var a = tensor(new[] { 0.1, 3, 0.01, 40 });
        return ((x.square() * a).sum() + x.sin().sum()).MoveToOuterDisposeScope();
    }

    private static double[] Gradient(double[] x) =>
        [.. x.Zip([0.1, 3, 0.01, 40], (value, a) => (2 * a * value) + Math.Cos(value))];

    /// <summary>AdamW as its paper has it (algorithm 2), with AMSGrad's maximum, element by element.</summary>
    private static double[] Reference(double lr, double beta1, double beta2, double eps, double decay, bool amsgrad, bool maximize)
    {
        var x = Start.ToArray();
        double[] m = new double[x.Length], v = new double[x.Length], greatest = new double[x.Length];
        for (var t = 1; t <= Steps; t++)
        {
            var g = Gradient(x);
            for (var i = 0; i < x.Length; i++)
            {
                var gradient = maximize ? -g[i] : g[i];
                m[i] = (beta1 * m[i]) + ((1 - beta1) * gradient);
                v[i] = (beta2 * v[i]) + ((1 - beta2) * gradient * gradient);
                greatest[i] = Math.Max(greatest[i], v[i]);
                var denominator = Math.Sqrt((amsgrad ? greatest[i] : v[i]) / (1 - Math.Pow(beta2, t))) + eps;
                x[i] -= (lr * decay * x[i]) + (lr * m[i] / (1 - Math.Pow(beta1, t)) / denominator);
            }
        }

        return x;
    }

    [Theory]
    [InlineData(0.0, false, false)]
    [InlineData(0.1, false, false)]
    [InlineData(0.1, true, false)]
    [InlineData(0.0, true, true)]
    public void FollowsThePapersAlgorithm(double decay, bool amsgrad, bool maximize)
    {
        const double lr = 0.05, beta1 = 0.8, beta2 = 0.9, eps = 1e-6;
        using var x = nn.Parameter(tensor(Start));
        using var optimizer = optim.AdamW([x], lr, beta1, beta2, eps, decay, amsgrad, maximize);
        for (var i = 0; i < Steps; i++) Step(optimizer, x);
        var expected = Reference(lr, beta1, beta2, eps, decay, amsgrad, maximize);
        var actual = x.data<double>().ToArray();
        for (var i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 1e-12);
    }

    private static void Step(optim.Optimizer optimizer, params Parameter[] parameters)
    {
        using var scope = NewDisposeScope();
        optimizer.zero_grad();
        foreach (var parameter in parameters) Loss(parameter).backward();
        Assert.Null(optimizer.step());
    }

    [Fact]
    public void GroupsHaveTheirOwnDecayAndLearningRate()
    {
        using var decayed = nn.Parameter(tensor(Start));
        using var plain = nn.Parameter(tensor(Start));
        using var optimizer = optim.AdamW(
            [new AdamW.ParamGroup([decayed], new AdamW.Options { weight_decay = 0.1 }), new AdamW.ParamGroup([plain], new AdamW.Options { weight_decay = 0, LearningRate = 0.02 })],
            lr: 0.05,
            beta1: 0.8);
        Assert.Equal([0.05, 0.02], optimizer.ParamGroups.Select(group => group.LearningRate));
        Assert.Equal([0.05, 0.02], optimizer.ParamGroups.Select(group => group.InitialLearningRate));
        for (var i = 0; i < Steps; i++) Step(optimizer, decayed, plain);
        Check(Reference(0.05, 0.8, 0.999, 1e-8, 0.1, false, false), decayed);
        Check(Reference(0.02, 0.8, 0.999, 1e-8, 0, false, false), plain);

        static void Check(double[] expected, Parameter parameter)
        {
            var actual = parameter.data<double>().ToArray();
            for (var i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 1e-12);
        }
    }

    [Fact]
    public void ALearningRateOfZeroStandsStill()
    {
        using var x = nn.Parameter(tensor(Start));
        using var optimizer = optim.AdamW([x], weight_decay: 0.5);
        foreach (var group in optimizer.ParamGroups) group.LearningRate = 0;
        Step(optimizer, x);
        Assert.Equal(Start, x.data<double>().ToArray());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void SavedStateResumesBitByBit(bool amsgrad)
    {
        using var x = nn.Parameter(tensor(Start));
        using var optimizer = optim.AdamW([x], 0.05, weight_decay: 0.1, amsgrad: amsgrad);
        for (var i = 0; i < 7; i++) Step(optimizer, x);
        foreach (var group in optimizer.ParamGroups) group.LearningRate = 0.03;

        using var stream = new MemoryStream();
        optimizer.save_state_dict(new BinaryWriter(stream));
        using var fromFile = nn.Parameter(x.detach().clone());
        using var fromOther = nn.Parameter(x.detach().clone());
        using var loaded = optim.AdamW([fromFile], amsgrad: amsgrad);
        stream.Position = 0;
        loaded.load_state_dict(new BinaryReader(stream));
        using var copied = optim.AdamW([fromOther]);
        copied.load_state_dict(optimizer.state_dict());
        Assert.True(loaded.state_dict().State[0].ApproximatelyEquals(optimizer.state_dict().State[0]));

        for (var i = 0; i < 7; i++)
        {
            Step(optimizer, x);
            Step(loaded, fromFile);
            Step(copied, fromOther);
        }

        Assert.Equal(x.data<double>().ToArray(), fromFile.data<double>().ToArray());
        Assert.Equal(x.data<double>().ToArray(), fromOther.data<double>().ToArray());
        Assert.False(loaded.state_dict().State[0].ApproximatelyEquals(optim.AdamW([fromFile]).state_dict().State[0]));
    }

    [Fact]
    public void TheSavedStateHasTorchSharpsFormat()
    {
        using var x = nn.Parameter(zeros(1));
        using var optimizer = optim.AdamW([x], 0.5, 0.25, 0.125, 1e-3, 0.75, amsgrad: true);
        using var stream = new MemoryStream();
        optimizer.save_state_dict(new BinaryWriter(stream));
        stream.Position = 0;
        using var reader = new BinaryReader(stream);
        Assert.Equal("AdamW", reader.ReadString());
        Assert.Equal([1, 1], reader.ReadBytes(2)); // groups, parameters
        Assert.Equal([0.5, 0.5, 0.25, 0.125, 1e-3, 0.75], Enumerable.Range(0, 6).Select(_ => reader.ReadDouble()));
        Assert.Equal([1, 0], reader.ReadBytes(2)); // amsgrad, maximize
        Assert.Equal(0, reader.ReadInt64()); // step
        byte[] zero = [(byte)ScalarType.Float32, 1, 1, 0, 0, 0, 0];
        Assert.Equal([.. zero, .. zero, 1, .. zero], reader.ReadBytes(1000));
    }

    [Fact]
    public void LoadingRefusesAnotherKindOrNumber()
    {
        using var x = nn.Parameter(zeros(1));
        using var y = nn.Parameter(zeros(1));
        using var one = optim.AdamW([x]);
        using var two = optim.AdamW([x, y]);
        using var other = optim.SGD([x], 0.1);
        using var stream = new MemoryStream();
        one.save_state_dict(new BinaryWriter(stream));
        stream.Position = 0;
        Assert.Throws<ArgumentException>(() => two.load_state_dict(new BinaryReader(stream)));
        stream.Position = 0;
        Assert.Throws<InvalidDataException>(() => other.load_state_dict(new BinaryReader(stream)));
        Assert.Throws<ArgumentException>(() => two.load_state_dict(one.state_dict()));
        Assert.Throws<ArgumentException>(() => optim.AdamW([x, x]));
    }

    [Theory]
    [InlineData("lr", -1, 0.9, 0.9, 1e-8, 0)]
    [InlineData("beta1", 1, 1, 0.9, 1e-8, 0)]
    [InlineData("beta2", 1, 0.9, -0.1, 1e-8, 0)]
    [InlineData("eps", 1, 0.9, 0.9, -1, 0)]
    [InlineData("weight_decay", 1, 0.9, 0.9, 1e-8, double.NaN)]
    public void BadOptionsAreRefusedByName(string name, double lr, double beta1, double beta2, double eps, double decay)
    {
        using var x = nn.Parameter(zeros(1));
        Assert.Equal(name, Assert.Throws<ArgumentException>(() => optim.AdamW([x], lr, beta1, beta2, eps, decay)).ParamName);
    }
}
