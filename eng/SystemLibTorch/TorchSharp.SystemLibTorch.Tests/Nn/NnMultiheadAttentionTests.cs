using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TorchSharpTests;

public sealed class NnMultiheadAttentionTests
{
    private const int Embedding = 4, Heads = 2, Queries = 3, Keys = 5, Batch = 2;

    private static MultiheadAttention Module(bool bias = true, bool addBias = false, long? kdim = null, long? vdim = null)
    {
        manual_seed(1);
        var module = nn.MultiheadAttention(Embedding, Heads, bias: bias, add_bias_kv: addBias, kdim: kdim, vdim: vdim).to(ScalarType.Float64);
        if (bias) init.normal_(module.get_parameter("in_proj_bias")!);
        return module;
    }

    private static (Tensor Query, Tensor Key, Tensor Value) Inputs() =>
        (randn([Queries, Batch, Embedding], ScalarType.Float64),
         randn([Keys, Batch, Embedding], ScalarType.Float64),
         randn([Keys, Batch, Embedding], ScalarType.Float64));

    /// <summary>The same out of tensor operations, with a mask that is added to the scores (N, heads, L, S).</summary>
    private static (Tensor Output, Tensor Weights) Composed(MultiheadAttention module, Tensor query, Tensor key, Tensor value, Tensor? mask)
    {
        Tensor weight = module.get_parameter("in_proj_weight")!, bias = module.get_parameter("in_proj_bias")!;
        Tensor Project(Tensor x, int part) => functional.linear(x, weight[(part * Embedding)..((part + 1) * Embedding)], bias[(part * Embedding)..((part + 1) * Embedding)])
            .view(x.shape[0], Batch, Heads, Embedding / Heads).permute(1, 2, 0, 3);

        var scores = Project(query, 0).matmul(Project(key, 1).transpose(-2, -1)) / Math.Sqrt(Embedding / Heads);
        var weights = functional.softmax(mask is null ? scores : scores + mask, -1);
        var heads = weights.matmul(Project(value, 2)).permute(2, 0, 1, 3).reshape(Queries, Batch, Embedding);
        return (functional.linear(heads, module.get_parameter("out_proj.weight")!, module.get_parameter("out_proj.bias")), weights.mean([1]));
    }

    private static void Close(Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.shape, actual.shape);
        Assert.True((expected - actual).abs().max().ToDouble() < 1e-12);
    }

    [Fact]
    public void ParametersHaveLibtorchsNamesAndShapes()
    {
        static IEnumerable<(string, string)> Shapes(Module module) =>
            module.state_dict().Select(entry => (entry.Key, string.Join("x", entry.Value.shape))).Order();

        using var module = Module();
        Assert.Equal([("in_proj_bias", "12"), ("in_proj_weight", "12x4"), ("out_proj.bias", "4"), ("out_proj.weight", "4x4")], Shapes(module));
        using var bare = Module(bias: false, addBias: true);
        Assert.Equal([("bias_k", "1x1x4"), ("bias_v", "1x1x4"), ("in_proj_weight", "12x4"), ("out_proj.weight", "4x4")], Shapes(bare));
        using var mixed = Module(kdim: 6, vdim: 7);
        Assert.Equal(
            [("in_proj_bias", "12"), ("k_proj_weight", "4x6"), ("out_proj.bias", "4"), ("out_proj.weight", "4x4"), ("q_proj_weight", "4x4"), ("v_proj_weight", "4x7")],
            Shapes(mixed));
    }

    [Fact]
    public void OutputWeightsAndGradientsAreThoseOfTheDefinition()
    {
        using var scope = NewDisposeScope();
        using var module = Module();
        var (query, key, value) = Inputs();
        var (output, weights) = module.call(query, key, value);
        var (expected, expectedWeights) = Composed(module, query, key, value, null);
        Close(expected, output);
        Close(expectedWeights, weights);

        var upstream = randn_like(output);
        (output * upstream).sum().backward();
        var gradients = module.parameters().Select(parameter => parameter.grad!.clone()).ToList();
        module.zero_grad();
        Assert.All(module.parameters(), parameter => Assert.Null(parameter.grad));
        (expected * upstream).sum().backward();
        foreach (var (parameter, gradient) in module.parameters().Zip(gradients)) Close(parameter.grad!, gradient);
    }

    [Fact]
    public void MasksBehaveAsLibtorchs()
    {
        using var scope = NewDisposeScope();
        using var module = Module();
        var (query, key, value) = Inputs();

        var added = randn([Queries, Keys], ScalarType.Float64);
        Close(Composed(module, query, key, value, added).Output, module.call(query, key, value, attn_mask: added).Item1);

        var padding = zeros([Batch, Keys], ScalarType.Bool);
        padding[1, 4] = tensor(true);
        var barrier = zeros([Batch, 1, 1, Keys], ScalarType.Float64).masked_fill(padding.view(Batch, 1, 1, Keys), double.NegativeInfinity);
        var (output, weights) = module.call(query, key, value, key_padding_mask: padding);
        Close(Composed(module, query, key, value, barrier).Output, output);
        Assert.Equal(0, weights[1, 0, 4].ToDouble());

        // A boolean attn_mask is added like any other: true counts as one. It masks nothing.
        var flags = ones([Queries, Keys], ScalarType.Bool).triu(1);
        Close(Composed(module, query, key, value, flags.to(ScalarType.Float64)).Output, module.call(query, key, value, attn_mask: flags).Item1);
    }

    [Fact]
    public void WeightsComeOnlyWhenNeeded()
    {
        using var scope = NewDisposeScope();
        using var module = Module();
        var (query, key, value) = Inputs();
        var (output, weights) = module.call(query, key, value, need_weights: false);
        Close(Composed(module, query, key, value, null).Output, output);
        Assert.True(weights.IsInvalid);
    }

    [Fact]
    public void DropoutFollowsTheMode()
    {
        using var scope = NewDisposeScope();
        using var module = nn.MultiheadAttention(Embedding, Heads, dropout: 0.5).to(ScalarType.Float64);
        var (query, key, value) = Inputs();
        Tensor Output() => module.call(query, key, value).Item1;
        Assert.False(Output().allclose(Output()));
        module.eval();
        Assert.True(Output().allclose(Output()));
        module.train();
        Assert.False(Output().allclose(Output()));
    }

    [Fact]
    public void StateLoadsIntoAnotherModuleAndConversionKeepsTheHandles()
    {
        using var scope = NewDisposeScope();
        using var module = Module();
        using var other = nn.MultiheadAttention(Embedding, Heads);
        var weight = other.get_parameter("in_proj_weight");
        other.to(ScalarType.Float64);
        Assert.Same(weight, other.get_parameter("in_proj_weight"));
        other.load_state_dict(module.state_dict());
        var (query, key, value) = Inputs();
        Assert.True(module.call(query, key, value).Item1.Equals(other.call(query, key, value).Item1));
    }

    [Fact]
    public void WrongInputIsRefusedWithLibtorchsMessage()
    {
        using var scope = NewDisposeScope();
        using var module = Module();
        var matrix = randn([Queries, Embedding], ScalarType.Float64);
        Assert.Throws<System.Runtime.InteropServices.ExternalException>(() => module.call(matrix, matrix, matrix));
        Assert.Contains("divisible", Assert.Throws<System.Runtime.InteropServices.ExternalException>(() => nn.MultiheadAttention(5, 2)).Message);
    }
}
