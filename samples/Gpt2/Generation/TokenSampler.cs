using Gpt2.Training;

namespace Gpt2.Generation;

/// <summary>Draws a token from logits.</summary>
/// <param name="temperature">Divides the logits; 0 takes the most probable token.</param>
/// <param name="topK">Only the k most probable tokens can be drawn; 0 means all.</param>
/// <param name="seed">Equal seeds and logits give equal tokens.</param>
public sealed class TokenSampler(double temperature, int topK, long seed)
{
    private readonly SplitMix64 _random = new((ulong)seed);

    /// <summary>The index of the drawn logit. Of equal logits the lower index counts as the more probable.</summary>
    public int Sample(ReadOnlySpan<float> logits)
    {
        int[] order = [.. Enumerable.Range(0, logits.Length)];
        float[] keys = logits.ToArray();
        Array.Sort(order, (a, b) => keys[a] != keys[b] ? keys[b].CompareTo(keys[a]) : a.CompareTo(b));
        if (temperature == 0) return order[0];

        int candidates = topK == 0 ? order.Length : Math.Min(topK, order.Length);
        var weights = new double[candidates];
        double sum = 0;
        for (int i = 0; i < candidates; i++)
        {
            weights[i] = Math.Exp((keys[order[i]] - (double)keys[order[0]]) / temperature);
            sum += weights[i];
        }

        double remaining = _random.NextDouble() * sum;
        for (int i = 0; i < candidates; i++)
        {
            remaining -= weights[i];
            if (remaining < 0) return order[i];
        }

        return order[candidates - 1];
    }
}
