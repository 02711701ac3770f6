
namespace Gpt2.Tests;

public class TokenSamplerTests
{
    private static readonly float[] Logits = [0.5f, 2f, -1f, 2f, 1f, float.NegativeInfinity];

    [Fact]
    public void Temperature_zero_takes_the_first_of_the_most_probable() =>
        Assert.Equal(1, new TokenSampler(0, 0, 1).Sample(Logits));

    [Fact]
    public void Only_the_k_most_probable_are_drawn()
    {
        Assert.Equal([1, 3, 4], Drawn(topK: 3));
        Assert.Equal([1], Drawn(topK: 1));
        Assert.Equal([0, 1, 2, 3, 4], Drawn(topK: 0));
        Assert.Equal([0, 1, 2, 3, 4], Drawn(topK: 99));
    }

    [Fact]
    public void Equal_seeds_draw_equal_tokens()
    {
        Assert.Equal(Sequence(5), Sequence(5));
        Assert.NotEqual(Sequence(5), Sequence(6));
    }

    [Fact]
    public void Frequencies_follow_the_tempered_softmax()
    {
        const double Temperature = 0.7;
        const int Draws = 40_000;
        var sampler = new TokenSampler(Temperature, 0, 3);
        var counts = new int[Logits.Length];
        for (int i = 0; i < Draws; i++) counts[sampler.Sample(Logits)]++;

        double[] weights = [.. Logits.Select(logit => Math.Exp(logit / Temperature))];
        for (int i = 0; i < counts.Length; i++)
        {
            double p = weights[i] / weights.Sum();
            double tolerance = 5 * Math.Sqrt(p * (1 - p) / Draws); // five standard deviations
            Assert.InRange(counts[i] / (double)Draws, p - tolerance, p + tolerance);
        }
    }

    private static int[] Sequence(long seed)
    {
        var sampler = new TokenSampler(1, 0, seed);
        return [.. Enumerable.Range(0, 50).Select(_ => sampler.Sample(Logits))];
    }

    private static IEnumerable<int> Drawn(int topK)
    {
        var sampler = new TokenSampler(2, topK, 11);
        return Enumerable.Range(0, 3000).Select(_ => sampler.Sample(Logits)).Distinct().Order().ToArray();
    }
}
