
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
    public void Only_the_most_probable_that_reach_p_are_drawn()
    {
        // From the most probable on: 1 and 3, 4, 0, 2.
        double[] weights = [.. new[] { 2.0, 2, 1, 0.5, -1 }.Select(logit => Math.Exp(logit / 2))];
        double Share(int count) => weights.Take(count).Sum() / weights.Sum();
        Assert.Equal([1], Drawn(topK: 0, topP: 1e-9));
        Assert.Equal([1], Drawn(topK: 0, topP: Share(1) - 1e-6));
        Assert.Equal([1, 3], Drawn(topK: 0, topP: Share(1) + 1e-6));
        Assert.Equal([1, 3, 4], Drawn(topK: 0, topP: Share(3) - 1e-6));
        Assert.Equal([0, 1, 3, 4], Drawn(topK: 0, topP: Share(3) + 1e-6));
        Assert.Equal([1, 3], Drawn(topK: 2, topP: 0.99));
    }

    [Fact]
    public void The_k_most_probable_of_many_are_the_first_of_all()
    {
        var random = new Random(6);
        float[] logits = [.. Enumerable.Range(0, 5000).Select(_ => (float)Math.Round((random.NextDouble() * 20) - 10, 2))];
        int[] order = [.. Enumerable.Range(0, logits.Length).OrderByDescending(i => logits[i]).ThenBy(i => i)];
        foreach (int k in (int[])[1, 2, 50, 4999])
        {
            var sampler = new TokenSampler(50, k, 2);
            HashSet<int> possible = [.. order.Take(k)];
            Assert.All(Enumerable.Range(0, 20 * Math.Min(k, 50)), _ => Assert.Contains(sampler.Sample(logits), possible));
        }

        Assert.Equal(order[0], new TokenSampler(0, 0, 1).Sample(logits));
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

    private static IEnumerable<int> Drawn(int topK, double topP = 1)
    {
        var sampler = new TokenSampler(2, topK, 11, topP);
        return Enumerable.Range(0, 3000).Select(_ => sampler.Sample(Logits)).Distinct().Order().ToArray();
    }
}
