using TorchFlash.Kernels.Scores;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>Block-sparse attention: patterns, and values against a dense mask.</summary>
public class BlockMaskTests
{
    private static string Rows(BlockMask mask)
    {
        long rows = mask.layout.size(2), columns = mask.layout.size(3);
        return string.Join('/', Enumerable.Range(0, (int)rows).Select(r => string.Concat(Enumerable.Range(0, (int)columns).Select(c => mask.layout[0, 0, r, c].item<bool>() ? '1' : '0'))));
    }

    [Fact]
    public void PatternsAreThoseOfThePapers()
    {
        Assert.Equal("1110/1101/1011/0111", Rows(BlockMask.butterfly(4)));
        Assert.Equal("11111/11100/11110/10111/10011", Rows(BlockMask.local_global(5)));
        Assert.Equal("111010/111101/111110/011111/101111/010111", Rows(BlockMask.strided(6, 2)));
        BlockMask bird = BlockMask.big_bird(8, random: 2, seed: 5);
        Assert.Equal(Rows(bird), Rows(BlockMask.big_bird(8, random: 2, seed: 5)));
        Assert.NotEqual(Rows(bird), Rows(BlockMask.big_bird(8, random: 2, seed: 6)));
        Assert.True(bird.layout.logical_and(BlockMask.local_global(8).layout).eq(BlockMask.local_global(8).layout).all().item<bool>());
        Assert.Equal(12 / 16.0, BlockMask.butterfly(4).density);
    }

    [Theory]
    [InlineData(false, false, 16, 16)]
    [InlineData(true, false, 16, 24)]
    [InlineData(true, true, 40, 8)]
    public void ValuesAndGradientsAreThoseOfADenseMask(bool perHead, bool perEntry, int rows, int columns)
    {
        const int Nq = 100, Nk = 130;
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(2, 3, Nq, Nk, 8, 6);
        long nq = (Nq + rows - 1) / rows, nk = (Nk + columns - 1) / columns;
        long[] shape = perEntry ? [2, 3, nq, nk] : perHead ? [3, nq, nk] : [nq, nk];
        Tensor blocks = TestData.Normal(7, shape).gt(0.2);
        blocks.narrow(-1, 0, 1).fill_(true); // No row is empty.
        Tensor dense = blocks.repeat_interleave(rows, -2).repeat_interleave(columns, -1).narrow(-2, 0, Nq).narrow(-1, 0, Nk);
        Tensor expected = Reference.Attention(q, k, v, allowed: dense);
        Tensor[] expectedGradients = TestData.Gradients(expected, c, q, k, v);
        Tensor actual = flash.nn.functional.attention(q, k, v, ScoreProgram.Identity.blocks(BlockMask.of(blocks, rows, columns)));
        TestData.Close(expected, actual, 1e-12);
        Tensor[] gradients = TestData.Gradients(actual, c, q, k, v);
        for (int i = 0; i < 3; i++)
            TestData.Close(expectedGradients[i], gradients[i], 1e-11, $"gradient {i}");
    }

    [Fact]
    public void AConditionIsClassifiedByBlocksAndKeptInside()
    {
        const int N = 100;
        Tensor ids = arange(N).div(37, RoundingMode.trunc);
        IntTensor document = flash.ints(ids);
        BlockMask mask = BlockMask.where((b, h, i, j) => j <= i && document[i] == document[j] && h != 1, N, N, 32, heads: 3);
        Assert.Equal([1L, 3, 4, 4], mask.layout.shape);
        Assert.False(mask.layout.select(1, 1).any().item<bool>());
        (Tensor q, Tensor k, Tensor v, Tensor c) = TestData.Operands(2, 3, N, N, 8, 6);
        Tensor allowed = Reference.Causal(N, N).logical_and(ids.unsqueeze(0).eq(ids.unsqueeze(1)));
        Tensor expected = Reference.Attention(q, k, v, allowed: allowed) * tensor([1.0, 0, 1]).view(1, 3, 1, 1);
        Tensor actual = flash.nn.functional.attention(q, k, v, ScoreProgram.Identity.blocks(mask));
        TestData.Close(expected, actual, 1e-12);
        // Every block with a pair is kept, and hardly another: those where documents meet beside the diagonal.
        int kept = 0, needed = 0;
        for (int r = 0; r < 4; r++)
        {
            for (int column = 0; column < 4; column++)
            {
                bool any = allowed.narrow(0, r * 32, Math.Min(32, N - r * 32)).narrow(1, column * 32, Math.Min(32, N - column * 32)).any().item<bool>();
                bool keeps = mask.layout[0, 0, r, column].item<bool>();
                Assert.True(keeps || !any);
                (kept, needed) = (kept + (keeps ? 1 : 0), needed + (any ? 1 : 0));
            }
        }
        Assert.InRange(kept, needed, needed + 2);
    }
}
