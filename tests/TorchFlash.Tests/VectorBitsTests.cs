using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>The width of the CPU engine's registers, as a user sets it.</summary>
public class VectorBitsTests
{
    [Fact]
    public void EveryWidthComputesTheSameToRounding()
    {
        int chosen = flash.get_vector_bits();
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(2, 3, 57, 71, 40, 24, ScalarType.Float32);
        Tensor[]? expected = null;
        try
        {
            foreach (int bits in new[] { 0, 128, 256, 512 }.Where(bits => bits <= chosen))
            {
                flash.set_vector_bits(bits);
                Assert.Equal(bits, flash.get_vector_bits());
                Assert.Contains(bits == 0 ? "scalar code (as asked for)" : $"{bits}-bit vectors (as asked for)", flash.describe(), StringComparison.Ordinal);
                Tensor o = flash.nn.functional.scaled_dot_product_attention(q, k, v, is_causal: true);
                Tensor[] all = [o, .. TestData.Gradients(o, c, q, k, v)];
                expected ??= all;
                for (int i = 0; i < all.Length; i++)
                    Assert.True(allclose(expected[i], all[i], rtol: 1e-4, atol: 1e-5), $"{bits} bits, result {i}");
            }
        }
        finally
        {
            flash.set_vector_bits(null);
        }
        Assert.Equal(chosen, flash.get_vector_bits());
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(64)]
    [InlineData(1024)]
    public void OtherWidthsAreRefused(int bits)
    {
        int before = flash.get_vector_bits();
        Assert.Equal("bits", Assert.Throws<ArgumentOutOfRangeException>(() => flash.set_vector_bits(bits)).ParamName);
        Assert.Equal(before, flash.get_vector_bits());
    }
}
