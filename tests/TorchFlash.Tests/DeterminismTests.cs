using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>Results depend neither on the number of threads nor on the run.</summary>
public class DeterminismTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void EveryBitIsTheSameForAnyNumberOfThreads(bool causal)
    {
        int before = get_num_threads();
        try
        {
            (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(2, 3, 257, 203, 40, 24, ScalarType.Float32);
            Tensor[]? first = null;
            foreach (int threads in new[] { 1, 2, 3, 8, 2 })
            {
                set_num_threads(threads);
                Tensor o = flash.nn.functional.scaled_dot_product_attention(q, k, v, is_causal: causal);
                Tensor[] all = [o, .. TestData.Gradients(o, c, q, k, v)];
                first ??= all;
                for (int i = 0; i < all.Length; i++)
                    TestData.Identical(first[i], all[i], $"{threads} threads, result {i}");
            }
        }
        finally
        {
            set_num_threads(before);
        }
    }
}
