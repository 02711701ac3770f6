using TorchFlash.Kernels.Cpu;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>What a call costs besides its arithmetic.</summary>
public class CallCostTests
{
    [Theory]
    [InlineData(1, false, 8_000)]
    [InlineData(64, false, 8_000)]
    [InlineData(1, true, 24_000)]
    [InlineData(64, true, 24_000)]
    public void ACallLeavesLittleToCollectHoweverLongTheSequenceIs(long length, bool backward, long most)
    {
        // What TorchSharp allocates for the same tensors counts, too: about half of it.
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(1, 2, length, length, 16, 16, ScalarType.Float32, backward);
        Bytes(50);
        long first = Bytes(200), second = Bytes(200);
        Assert.InRange(first, 0, 200 * most);
        Assert.InRange(second, 0, first + first / 4);

        long Bytes(int calls)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < calls; i++)
            {
                using DisposeScope scope = NewDisposeScope();
                Tensor o = flash.nn.functional.scaled_dot_product_attention(q, k, v);
                if (backward)
                    autograd.grad([o], [q, k, v], [c]);
            }
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }
    }

    [Fact]
    public void OnLinuxPassesRunOnLibtorchsThreads()
    {
        if (!OperatingSystem.IsLinux())
            return;
        int threads = get_num_threads(); // By now libtorch has been loaded.
        Assert.True(OpenMpTeam.Exists);
        try
        {
            set_num_threads(3);
            int workers = 0;
            Assert.Empty(OpenMpTeam.Run(2, () => Interlocked.Increment(ref workers)));
            Assert.Equal(2, workers);
            HashSet<int> ids = [];
            Exception[] errors = [.. OpenMpTeam.Run(8, () =>
            {
                lock (ids)
                    ids.Add(Environment.CurrentManagedThreadId);
                throw new NotSupportedException();
            })];
            Assert.Equal(3, ids.Count);
            Assert.Equal(3, errors.Length);
        }
        finally
        {
            set_num_threads(threads);
        }
    }
}
