using TorchFlash.Kernels.Scores;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>Memory: linear in the length of the sequence, and given back.</summary>
public class MemoryTests
{
    private static void ForwardBackward(long n, long heads, long dim)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor q = randn([1L, heads, n, dim], requires_grad: true), k = randn([1L, heads, n, dim], requires_grad: true), v = randn([1L, heads, n, dim], requires_grad: true);
        flash.nn.functional.scaled_dot_product_attention(q, k, v, is_causal: true).sum().backward();
    }

    [Fact]
    public void PeakGrowsLinearlyAndHoldsNoMatrixOfScores()
    {
        ForwardBackward(512, 1, 16); // Whatever is allocated once.
        long growth4096 = ProcessMemory.PeakGrowth(() => ForwardBackward(4096, 1, 16));
        long growth8192 = ProcessMemory.PeakGrowth(() => ForwardBackward(8192, 1, 16));
        Assert.True(growth8192 < 8192L * 8192 * sizeof(float) / 8, $"grew by {growth8192 >> 20} MiB at N = 8192");
        Assert.True(growth8192 < (5 * growth4096 / 2) + (8 * ProcessMemory.Mebibyte), $"grew by {growth4096} at N = 4096, by {growth8192} at N = 8192");
    }

    [Theory]
    [InlineData("program")]
    [InlineData("dropout")]
    [InlineData("bias")]
    [InlineData("window")]
    [InlineData("documents")]
    [InlineData("sinks")]
    [InlineData("bfloat16")]
    [InlineData("float16")]
    public void NoFeatureHoldsAMatrixOfScores(string feature)
    {
        const long N = 16384, H = 2;
        Run(512); // Whatever is allocated and compiled once.
        long growth = ProcessMemory.PeakGrowth(() => Run(N));
        // Ten operands or gradients of 2 MiB, and scratch; a matrix is 1 GiB of float32 a head, 256 MiB of bytes.
        Assert.True(growth < 80 * ProcessMemory.Mebibyte, $"grew by {growth >> 20} MiB at N = {N}");

        void Run(long n)
        {
            using DisposeScope scope = NewDisposeScope();
            ScalarType type = feature switch { "bfloat16" => ScalarType.BFloat16, "float16" => ScalarType.Float16, _ => ScalarType.Float32 };
            Tensor[] x = [.. Enumerable.Range(0, 3).Select(_ => randn([1, H, n, 16]).to(type).requires_grad_(true))];
            ScoreProgram none = ScoreProgram.Identity;
            ScoreProgram? score = feature switch
            {
                "program" => none.alibi(flash.alibi_slopes(H).requires_grad_(true)),
                "bias" => none.bias(randn([1, H, 1, n], requires_grad: true)).causal(),
                "window" => none.window(512, 0),
                "documents" => none.documents(arange(n).div(1024, RoundingMode.trunc)),
                _ => null,
            };
            Tensor? sinks = feature == "sinks" ? randn(H).requires_grad_(true) : null;
            flash.nn.functional.attention(x[0], x[1], x[2], score, p: feature == "dropout" ? 0.1 : 0, is_causal: feature == "sinks", sinks: sinks).sum().backward();
        }
    }

    [Fact]
    public void StepsWithProgramsLeaveNothingBehind()
    {
        Tensor slopes = flash.alibi_slopes(4).requires_grad_(true), sinks = zeros(4).requires_grad_(true), bias = zeros([4, 1, 32], requires_grad: true);

        void Run(int iterations)
        {
            for (int i = 0; i < iterations; i++)
            {
                using DisposeScope scope = NewDisposeScope();
                Tensor x = randn([1L, 4, 32, 256], requires_grad: true);
                ScoreProgram score = ScoreProgram.Identity.alibi(slopes).t5_bias(zeros(8, 4), max_distance: 9).window(8, 8).documents(zeros([32], ScalarType.Int32));
                (Tensor o, Tensor lse) = flash.nn.functional.attention_lse(x, x, x, score, p: 0.1, sinks: sinks);
                (o.sum() + lse.sum()).backward();
                flash.nn.functional.scaled_dot_product_attention(x, x, x, bias).sum().backward();
                slopes.grad = sinks.grad = bias.grad = null;
            }
        }

        Run(100);
        long before = ProcessMemory.Settled();
        long tensorsBefore = Tensor.TotalCount;
        Run(1000); // Each with two dozen tensors of 128 KiB.
        long after = ProcessMemory.Settled();
        Assert.True(after - before < 24 * ProcessMemory.Mebibyte, $"grew by {(after - before) / 1024} KiB over 1,000 iterations");
        Assert.True(Tensor.TotalCount - tensorsBefore < 20, $"{Tensor.TotalCount - tensorsBefore} tensors left alive");
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AThousandIterationsLeaveNothingBehind(bool disposed)
    {
        void Run(int iterations)
        {
            for (int i = 0; i < iterations; i++)
            {
                using DisposeScope? scope = disposed ? NewDisposeScope() : null;
                Tensor x = randn([1L, 4, 32, 256], requires_grad: true);
                Tensor o = flash.nn.functional.scaled_dot_product_attention(x, x, x);
                o.sum().backward();
                if (!disposed && i % 50 == 49)
                    ProcessMemory.Settled();
            }
        }

        Run(100);
        long before = ProcessMemory.Settled();
        long tensorsBefore = Tensor.TotalCount;
        Run(1000); // Each with a dozen tensors of 128 KiB.
        long after = ProcessMemory.Settled();
        Assert.True(after - before < 24 * ProcessMemory.Mebibyte, $"grew by {(after - before) / 1024} KiB over 1,000 iterations");
        Assert.True(Tensor.TotalCount - tensorsBefore < 20, $"{Tensor.TotalCount - tensorsBefore} tensors left alive");
    }

    [Fact]
    public void ForwardAloneUnderAGraphThatIsDroppedLeavesNothingBehind()
    {
        void Run(int iterations)
        {
            for (int i = 0; i < iterations; i++)
            {
                using DisposeScope scope = NewDisposeScope();
                Tensor x = randn([1L, 4, 32, 256], requires_grad: true);
                flash.nn.functional.scaled_dot_product_attention(x, x, x);
            }
        }

        Run(100);
        long before = ProcessMemory.Settled();
        Run(1000);
        long after = ProcessMemory.Settled();
        Assert.True(after - before < 24 * ProcessMemory.Mebibyte, $"grew by {(after - before) / 1024} KiB over 1,000 iterations");
    }

    [Fact]
    public void StepsWithoutACollectionGrowNoMoreThanThoseOfLibtorchsOwn()
    {
        Tensor[] x = [.. Enumerable.Range(0, 3).Select(_ => randn([1L, 8, 2048, 64], requires_grad: true))];
        Func<Tensor> theirs = () => nn.functional.scaled_dot_product_attention(x[0], x[1], x[2], is_casual: true);
        Func<Tensor> ours = () => flash.nn.functional.scaled_dot_product_attention(x[0], x[1], x[2], is_causal: true);
        Run(theirs, 3);
        Run(ours, 3);
        long theirGrowth = ProcessMemory.PeakGrowth(() => Run(theirs, 5));
        long growth = ProcessMemory.PeakGrowth(() => Run(ours, 40));
        // Small blocks that stay between those of 4 MiB would keep one of these in every step, 160 MiB in all.
        Assert.True(growth < (2 * theirGrowth) + (64 * ProcessMemory.Mebibyte), $"grew by {growth >> 20} MiB over 40 steps, libtorch's own by {theirGrowth >> 20} over 5");

        void Run(Func<Tensor> attention, int steps)
        {
            for (int i = 0; i < steps; i++)
            {
                using DisposeScope scope = NewDisposeScope();
                foreach (Tensor leaf in x)
                    leaf.grad = null;
                attention().sum().backward();
            }
        }
    }

    [Fact]
    public void ALeafTakesOverItsGradientInsteadOfCopyingIt()
    {
        static long Growth()
        {
            using DisposeScope scope = NewDisposeScope();
            Tensor q = randn([1L, 8, 8192, 64], requires_grad: true);
            Tensor o = flash.nn.functional.scaled_dot_product_attention(q, q.detach().narrow(2, 0, 64), q.detach().narrow(2, 0, 64));
            Tensor dO = ones_like(o);
            return ProcessMemory.PeakGrowth(() => autograd.backward([o], [dO]));
        }

        Growth();
        long growth = Growth(); // dQ: 16 MiB, and a copy would be as much again.
        Assert.True(growth < 28 * ProcessMemory.Mebibyte, $"grew by {growth >> 20} MiB");
    }
}
