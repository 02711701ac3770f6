using TorchSharp;
using TorchSharp.Modules;
using TorchSharp.Utils;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TorchSharpTests;

public sealed class NnModuleTests
{
    private abstract class Base : Module<Tensor, Tensor>
    {
        private readonly Linear inherited = Linear(2, 2);

        protected Base(string name)
            : base(name)
        {
        }

        public override Tensor forward(Tensor input) => inherited.call(input);
    }

    private sealed class Block : Base
    {
        public readonly ModuleList<Module<Tensor, Tensor>> layers = ModuleList<Module<Tensor, Tensor>>(Linear(2, 3), ReLU(), Linear(3, 2, hasBias: false));

        [ComponentName(Name = "renamed")]
        private readonly LayerNorm field = LayerNorm(2);

        private readonly Sequential chain = Sequential(("first", Linear(2, 2)), ("second", Dropout(0.5)));
        private readonly Parameter scale = Parameter(ones(2));
        private readonly Tensor table = zeros(3);
        private readonly Linear? missing = null;

        public Block()
            : base(nameof(Block))
        {
            register_buffer("hidden", ones(1), persistent: false);
            RegisterComponents();
        }

        public bool HasMissing => missing is not null;

        public override Tensor forward(Tensor input)
        {
            foreach (var layer in layers) input = layer.call(input);
            return base.forward(chain.call(field.call(input)) * scale + table[..2]);
        }
    }

    private sealed class Tied : Module<Tensor, Tensor>
    {
        private readonly Linear encoder = Linear(2, 2, hasBias: false);
        private readonly Linear decoder;

        public Tied()
            : base(nameof(Tied))
        {
            decoder = Linear(encoder.weight);
            RegisterComponents();
        }

        public override Tensor forward(Tensor input) => decoder.call(encoder.call(input));
    }

    [Fact]
    public void ComponentsAreNamedAfterTheirFields()
    {
        using var block = new Block();
        Assert.False(block.HasMissing);
        Assert.Equal(
            [
                "scale",
                "layers.0.weight", "layers.0.bias", "layers.2.weight",
                "renamed.weight", "renamed.bias",
                "chain.first.weight", "chain.first.bias",
                "inherited.weight", "inherited.bias",
                "table",
            ],
            block.state_dict().Keys);
        Assert.Equal(["layers", "renamed", "chain", "inherited"], block.named_children().Select(child => child.name));
        Assert.Equal(
            ["layers", "renamed", "chain", "inherited", "layers.0", "layers.1", "layers.2", "chain.first", "chain.second"],
            block.named_modules().Select(module => module.name));
    }

    [Fact]
    public void PathsLeadToParametersAndBuffers()
    {
        using var block = new Block();
        Assert.Same(block.state_dict()["layers.0.weight"], block.get_parameter("layers.0.weight"));
        Assert.True(block.has_parameter("chain.first.bias"));
        Assert.False(block.has_parameter("chain.second.bias"));
        Assert.False(block.has_parameter("nothing.at.all"));
        Assert.Same(block.state_dict()["table"], block.get_buffer("table"));
        Assert.True(block.has_buffer("hidden"));
        Assert.Equal(["table"], block.named_buffers().Select(buffer => buffer.name));
        Assert.Equal(["scale"], block.named_parameters(recurse: false).Select(parameter => parameter.name));
    }

    [Fact]
    public void ASharedParameterIsListedOnceButSavedUnderEachPath()
    {
        using var tied = new Tied();
        Assert.Equal(["encoder.weight"], tied.named_parameters().Select(parameter => parameter.name));
        Assert.Equal(["decoder.weight", "encoder.weight"], tied.state_dict().Keys.Order());
    }

    [Fact]
    public void RegistrationRefusesBadNamesAndValues()
    {
        using var module = Sequential();
        using var child = Identity();
        Assert.Throws<ArgumentException>(() => module.register_module("a.b", child));
        Assert.Throws<ArgumentException>(() => module.register_module("", child));
        module.register_module("a", child);
        Assert.Throws<InvalidOperationException>(() => module.register_module("a", child));
        module.register_module("a", null!);
        Assert.Empty(module.named_children());
        Assert.Throws<ArgumentNullException>(() => module.register_parameter("p", null!));
        Assert.Throws<ArgumentNullException>(() => module.register_buffer("b", null!));
        using var parameter = Parameter(ones(1));
        module.register_parameter("p", parameter);
        Assert.Throws<InvalidOperationException>(() => module.register_parameter("p", parameter));
        Assert.Throws<InvalidOperationException>(() => child.register_parameter("p", parameter));
    }

    [Fact]
    public void TrainingModeReachesEverySubmodule()
    {
        using var block = new Block();
        Assert.All(block.modules(), module => Assert.True(module.training));
        block.eval();
        Assert.False(block.training);
        Assert.All(block.modules(), module => Assert.False(module.training));
        block.train();
        Assert.All(block.modules(), module => Assert.True(module.training));
    }

    [Fact]
    public void ApplyVisitsChildrenBeforeTheirParent()
    {
        using var model = Sequential(Sequential(Linear(1, 1)), ReLU());
        List<string> visited = [];
        model.apply(module => visited.Add(module.GetName()));
        Assert.Equal(["Linear", "Sequential", "ReLU", "Sequential"], visited);
    }

    [Fact]
    public void HooksRunInOrderAndMayReplaceInputAndResult()
    {
        using var module = Linear(Parameter(ones(1, 1)));
        List<string> log = [];
        var before = module.register_forward_pre_hook(_ => log.Add("before"));
        module.register_forward_pre_hook((_, input) => { log.Add("input"); return input * 2; });
        module.register_forward_hook((_, _, result) => { log.Add("result"); return result + 1; });
        module.register_forward_hook((_, _, _) => null!);
        module.register_forward_hook(_ => log.Add("after"));
        using var x = full([1, 1], 3f);
        Assert.Equal(7f, module.call(x).item<float>());
        Assert.Equal(["before", "input", "result", "after"], log);

        before.remove();
        before.remove();
        log.Clear();
        module.call(x).Dispose();
        Assert.Equal(["input", "result", "after"], log);
        Assert.Equal(3f, module.forward(x).item<float>());
    }

    [Fact]
    public void HooksOfTwoInputsReplaceBoth()
    {
        using var loss = MSELoss(Reduction.Sum);
        loss.register_forward_pre_hook((_, x, y) => (y, x + 1));
        using var a = full([1], 1f);
        using var b = full([1], 4f);
        Assert.Equal(4f, loss.call(a, b).item<float>()); // (4 - (1 + 1))²
    }

    [Fact]
    public void ConversionReplacesTensorsInTheRegisterAndInTheFields()
    {
        using var block = new Block();
        using (var sum = block.call(ones(1, 2)).sum()) sum.backward();
        Assert.Same(block, block.to(ScalarType.Float64));
        Assert.All(block.parameters(), parameter => Assert.Equal(ScalarType.Float64, parameter.dtype));
        Assert.All(block.parameters().Where(p => p.grad is not null), parameter => Assert.Equal(ScalarType.Float64, parameter.grad!.dtype));
        Assert.All(block.parameters(), parameter => Assert.True(parameter.requires_grad && parameter.is_leaf));
        Assert.Equal(ScalarType.Float64, block.get_buffer("table")!.dtype);
        Assert.Equal(ScalarType.Float64, block.call(ones(1, 2, dtype: ScalarType.Float64)).dtype);

        var weight = block.get_parameter("layers.0.weight");
        block.to(ScalarType.Float64);
        Assert.Same(weight, block.get_parameter("layers.0.weight"));
        Assert.Throws<ArgumentException>(() => block.to(ScalarType.Int32));
    }

    [Fact]
    public void ZeroGradDropsOrZeroesGradients()
    {
        using var layer = Linear(1, 1);
        using (var y = layer.call(ones(1, 1))) y.backward();
        layer.zero_grad(set_to_none: false);
        Assert.Equal(0f, layer.weight.grad!.item<float>());
        layer.zero_grad();
        Assert.Null(layer.weight.grad);
    }

    [Fact]
    public void DisposeReleasesEveryParameterAndBuffer()
    {
        var block = new Block();
        var tensors = block.state_dict().Values.ToList();
        Assert.DoesNotContain(tensors, tensor => tensor.IsInvalid);
        block.Dispose();
        Assert.All(tensors, tensor => Assert.True(tensor.IsInvalid));
        block.Dispose();
    }

    [Fact]
    public void ModulesMadeInAScopeOutliveIt()
    {
        Linear layer;
        using (NewDisposeScope()) layer = Linear(2, 2);
        using (layer) Assert.Equal([2, 2], layer.weight.shape);
    }

    [Fact]
    public void SettingAWeightDisposesTheOneBeforeAndRegistersTheNewOne()
    {
        using var layer = Linear(2, 2);
        var (old, replacement) = (layer.weight, Parameter(zeros(2, 2)));
        layer.weight = replacement;
        Assert.True(old.IsInvalid);
        Assert.Same(replacement, layer.get_parameter("weight"));
        layer.bias = null;
        Assert.Equal(["weight"], layer.state_dict().Keys);
    }

    [Fact]
    public void ParameterTakesTheTensorOver()
    {
        using var scope = NewDisposeScope();
        var data = ones(3);
        var parameter = Parameter(data);
        Assert.True(data.IsInvalid);
        Assert.True(parameter.requires_grad && parameter.is_leaf);
        Assert.Equal(1, scope.DisposablesCount);
        using var frozen = Parameter(ones(1), requires_grad: false);
        Assert.False(frozen.requires_grad);
    }
}
