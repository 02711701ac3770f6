using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchSharpTests;

public class OperatorTests
{
    [Fact]
    public void LeftOutArgumentsTakeTheSchemasDefaults()
    {
        Tensor x = ones(2, 3);
        Assert.Equal([4f], Operator.Call("add", "Scalar", x[0, 0].view(1), 3.0).Values());
        Assert.Equal(2, Operator.CallMany("chunk", "", x, 2).Length);
        Assert.True(Operator.CallBoolean("is_floating_point", "", x));
    }

    [Fact]
    public void LongListsAndStringsAreCarried()
    {
        Tensor[] many = Enumerable.Range(0, 200).Select(i => full(1, (float)i)).ToArray();
        Assert.Equal(199f * 200 / 2, Operator.Call("cat", "", many, 0).sum().item<float>());
        Assert.Equal([0.5f, 0.5f], Operator.Call("gelu", "", tensor([0f, 0f]), "tanh").add(0.5).Values());
    }

    [Theory]
    [InlineData("no_such_operator", "")]
    [InlineData("add", "NoSuchOverload")]
    public void UnknownOperatorsAreRefused(string name, string overload)
    {
        Assert.Throws<ExternalException>(() => Operator.Call(name, overload));
        Assert.False(Operator.Exists(name, overload));
    }

    [Fact]
    public void TooFewOrTooManyArgumentsAreRefused()
    {
        Assert.Contains("argument 'other' is missing", Assert.Throws<ExternalException>(() => Operator.Call("add", "Tensor", ones(1))).Message);
        Assert.Contains("takes 1 arguments, got 2", Assert.Throws<ExternalException>(() => Operator.Call("relu", "", ones(1), 2)).Message);
        Assert.Throws<ArgumentException>(() => Operator.Call("relu", "", new object()));
    }
}
