using TorchFlash.Kernels.Cpu;

namespace TorchFlash.Kernels.Tests;

/// <summary>Every block of small problems, against the definition of the causal mask pair by pair.</summary>
public class CoverTests
{
    [Fact]
    public void BlocksSeeThePairsThatTheMaskLeaves()
    {
        foreach (CausalMask mask in Enum.GetValues<CausalMask>())
            foreach ((int nq, int nk) in new[] { (1, 1), (5, 9), (9, 5), (8, 8) })
            {
                Cover whole = Cover.Of(new AttentionProblem { Batch = 1, Heads = 1, QueryLength = nq, KeyLength = nk, HeadDim = 1, ValueDim = 1, Scale = 1, Causal = mask });
                for (int i = 0; i < nq; i++)
                    for (int j = 0; j < nk; j++)
                        for (int queries = 1; i + queries <= nq; queries++)
                            for (int keys = 1; j + keys <= nk; keys++)
                                Check(whole.Tile(i, queries, j, keys), (q, k) => mask switch
                                {
                                    CausalMask.TopLeft => j + k <= i + q,
                                    CausalMask.BottomRight => j + k <= i + q + nk - nq,
                                    _ => true,
                                });
            }
    }

    private static void Check(Cover cover, Func<int, int, bool> exists)
    {
        int[] queries = [.. Enumerable.Range(0, cover.Queries)], keys = [.. Enumerable.Range(0, cover.Keys)];
        foreach (int q in queries)
            Assert.Equal(keys.Count(k => exists(q, k)), cover.EndKeyOf(q));
        foreach (int k in keys)
            Assert.Equal(queries.Count(q => !exists(q, k)), cover.FirstQueryOf(k));
        Assert.Equal(queries.All(q => !keys.Any(k => exists(q, k))), cover.IsNone);
        Assert.Equal(queries.All(q => keys.All(k => exists(q, k))), cover.IsAll);
    }
}
