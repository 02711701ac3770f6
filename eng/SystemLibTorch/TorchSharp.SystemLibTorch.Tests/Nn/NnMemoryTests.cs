using System.Diagnostics;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TorchSharpTests;

public sealed class NnMemoryTests
{
    private sealed class Model : Module<Tensor, Tensor>
    {
        private readonly Embedding table = Embedding(32, 16);
        private readonly LayerNorm norm = LayerNorm(16);
        private readonly MultiheadAttention attention = nn.MultiheadAttention(16, 2, dropout: 0.1);
        private readonly Sequential feedForward = Sequential(Linear(16, 64), GELU(), Linear(64, 16), Dropout(0.1));

        public Model()
            : base(nameof(Model)) => RegisterComponents();

        public override Tensor forward(Tensor input)
        {
            var x = table.call(input);
            var h = norm.call(x);
            x = x + attention.call(h, h, h, need_weights: false).Item1;
            using var weight = table.weight;
            return functional.linear(x + feedForward.call(x), weight!);
        }
    }

    [Fact]
    public void AThousandTrainingStepsLeaveNothingBehind()
    {
        manual_seed(2);
        using var model = new Model();
        using var optimizer = optim.AdamW(model.parameters(), 1e-3, weight_decay: 0.01, amsgrad: true);
        Train(20);
        var (tensors, bytes) = LiveAndResident();
        Train(1000);
        var after = LiveAndResident();
        Assert.Equal(tensors, after.Tensors);
        Assert.InRange(after.Bytes - bytes, long.MinValue, 32 << 20);

        void Train(int steps)
        {
            for (var i = 0; i < steps; i++)
            {
                using var scope = NewDisposeScope();
                var tokens = randint(0, 32, [9, 4], ScalarType.Int64);
                optimizer.zero_grad();
                var logits = model.call(tokens[..8]);
                functional.cross_entropy(logits.reshape(-1, 32), tokens[1..].reshape(-1)).backward();
                nn.utils.clip_grad_norm_(model.parameters(), 1);
                optimizer.step();
            }
        }
    }

    [Fact]
    public void ModulesAndOptimisersReleaseEverythingTheyMade()
    {
        Build();
        var before = LiveAndResident().Tensors;
        for (var i = 0; i < 20; i++) Build();
        Assert.Equal(before, Tensor.TotalCount);

        static void Build()
        {
            using var model = new Model();
            using var optimizer = optim.AdamW(model.parameters());
            using var stream = new MemoryStream();
            model.save(stream);
            model.to(ScalarType.Float64).eval();
        }
    }

    // What earlier tests left to the garbage collector must not count.
    private static (long Tensors, long Bytes) LiveAndResident()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        using var process = Process.GetCurrentProcess();
        return (Tensor.TotalCount, process.WorkingSet64);
    }
}
