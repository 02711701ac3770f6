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
}
