using TorchFlash.Modules;
using TorchSharp;
using static TorchSharp.torch;
using LibTorchModule = TorchSharp.Modules.MultiheadAttention;

namespace TorchFlash.Tests;

/// <summary>Parameters: names, shapes, initial values, state_dict, conversion, files.</summary>
public class StateTests
{
    public static TheoryData<bool, bool, long?> Options => new()
    {
        { true, false, null },
        { false, false, null },
        { true, true, null },
        { false, true, 6L },
        { true, true, 6L },
    };

    private static (LibTorchModule Theirs, MultiheadAttention Ours) SameSeed(bool bias, bool addBiasKv, long? kvdim)
    {
        manual_seed(42);
        LibTorchModule theirs = nn.MultiheadAttention(8, 2, 0.1, bias, addBiasKv, false, kvdim, kvdim);
        manual_seed(42);
        return (theirs, flash.nn.MultiheadAttention(8, 2, 0.1, bias, addBiasKv, false, kvdim, kvdim));
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void TheSameSeedGivesTheSameParametersUnderTheSameNames(bool bias, bool addBiasKv, long? kvdim)
    {
        (LibTorchModule theirs, MultiheadAttention ours) = SameSeed(bias, addBiasKv, kvdim);
        Dictionary<string, Tensor> expected = theirs.state_dict(), actual = ours.state_dict();
        Assert.Equal(expected.Keys.Order(), actual.Keys.Order());
        Assert.Equal(expected.Keys.Order(), ours.named_parameters().Select(entry => entry.name).Order());
        foreach ((string name, Tensor value) in expected)
        {
            TestData.Identical(value, actual[name], name);
            Assert.True(actual[name].requires_grad);
        }
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void StateDictsGoBothWays(bool bias, bool addBiasKv, long? kvdim)
    {
        (LibTorchModule theirs, MultiheadAttention ours) = SameSeed(bias, addBiasKv, kvdim);
        Randomise(theirs, 1);
        ours.load_state_dict(theirs.state_dict());
        SameState(theirs, ours);
        Randomise(ours, 2);
        theirs.load_state_dict(ours.state_dict());
        SameState(ours, theirs);
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void ConversionCopiesWeightsTypeAndMode(bool bias, bool addBiasKv, long? kvdim)
    {
        (LibTorchModule theirs, _) = SameSeed(bias, addBiasKv, kvdim);
        theirs = theirs.to(ScalarType.Float64);
        Randomise(theirs, 1);
        theirs.eval();
        MultiheadAttention ours = flash.nn.MultiheadAttention(theirs, num_heads: 2, dropout: 0.1);
        SameState(theirs, ours);
        Assert.Equal(ScalarType.Float64, ours.state_dict()["out_proj.weight"].dtype);
        Assert.False(ours.training);
        Assert.Equal((8, 2, 0.1, kvdim ?? 8, kvdim ?? 8), (ours.embedded_dim, ours.num_heads, ours.dropout, ours.kdim, ours.vdim));
        Randomise(ours, 2); // A copy: theirs stays.
        Assert.NotEqual(TestData.Values(theirs.state_dict()["out_proj.weight"]), TestData.Values(ours.state_dict()["out_proj.weight"]));
    }

    [Fact]
    public void ConversionRefusesHeadsThatDoNotDivideTheWidth()
    {
        (LibTorchModule theirs, _) = SameSeed(true, false, null);
        Assert.Equal("embedded_dim", Assert.ThrowsAny<ArgumentException>(() => flash.nn.MultiheadAttention(theirs, 3)).ParamName);
    }

    [Fact]
    public void TypeConversionReplacesEveryParameter()
    {
        MultiheadAttention ours = flash.nn.MultiheadAttention(8, 2, add_bias_kv: true).to(ScalarType.Float64);
        Assert.All(ours.state_dict().Values, value => Assert.Equal(ScalarType.Float64, value.dtype));
        Tensor x = TestData.Normal(1, [3, 2, 8]);
        ours.call(x, x, x).Item1.sum().backward();
        Assert.All(ours.parameters(), parameter => Assert.NotNull(parameter.grad));
    }

    [Fact]
    public void SavedAndLoaded()
    {
        string file = Path.GetTempFileName();
        try
        {
            Parent saved = new(), loaded = new();
            Randomise(saved, 3);
            saved.save(file);
            loaded.load(file);
            SameState(saved, loaded);
            Tensor x = TestData.Normal(1, [3, 2, 8], ScalarType.Float32);
            TestData.Identical(saved.call(x), loaded.call(x));
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public void WorksAsAPartOfAnotherModule()
    {
        Parent parent = new();
        Assert.Equal(
            ["attention.in_proj_bias", "attention.in_proj_weight", "attention.out_proj.bias", "attention.out_proj.weight", "norm.bias", "norm.weight"],
            parent.named_parameters().Select(entry => entry.name).Order());
        Tensor x = TestData.Normal(1, [3, 2, 8], ScalarType.Float32);
        using nn.Module<Tensor, Tensor> model = nn.Sequential(("first", parent), ("second", nn.Linear(8, 4)));
        model.call(x).sum().backward();
        Assert.All(parent.parameters(), parameter => Assert.NotNull(parameter.grad));
        model.eval();
        Assert.False(parent.Attention.training);
    }

    private static void Randomise(nn.Module module, int seed)
    {
        using IDisposable noGrad = no_grad();
        foreach (Tensor parameter in module.parameters())
            parameter.copy_(TestData.Normal(seed++, parameter.shape, parameter.dtype));
    }

    private static void SameState(nn.Module expected, nn.Module actual)
    {
        Dictionary<string, Tensor> expectedState = expected.state_dict(), actualState = actual.state_dict();
        Assert.Equal(expectedState.Keys.Order(), actualState.Keys.Order());
        foreach ((string name, Tensor value) in expectedState)
            TestData.Identical(value, actualState[name], name);
    }

    private sealed class Parent : nn.Module<Tensor, Tensor>
    {
        private readonly MultiheadAttention attention = flash.nn.MultiheadAttention(8, 2, is_causal: true);
        private readonly TorchSharp.Modules.LayerNorm norm = nn.LayerNorm(8);

        public Parent()
            : base(nameof(Parent)) => RegisterComponents();

        public MultiheadAttention Attention => attention;

        public override Tensor forward(Tensor input)
        {
            Tensor x = norm.call(input);
            return input + attention.call(x, x, x, need_weights: false).Item1;
        }
    }
}
