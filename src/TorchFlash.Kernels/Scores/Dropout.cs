namespace TorchFlash.Kernels.Scores;

/// <summary>
/// Which attention weights are dropped: a function of the seed and of the element's place alone, so that the same ones are dropped
/// whatever the tiling, the number of threads and the engine, and that the backward pass finds them again.
/// <code>
/// w = Philox4x32-10(counter = (key / 4, query, head, batch), key = (low half of the seed, high half))
/// kept where word key % 4 of w, as a signed number, is at least p 2³² - 2³¹
/// </code>
/// Philox: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
/// </summary>
public static class Dropout
{
    internal const uint Multiplier0 = 0xD2511F53, Multiplier1 = 0xCD9E8D57, Weyl0 = 0x9E3779B9, Weyl1 = 0xBB67AE85;

    internal const int Rounds = 10;

    /// <summary>Whether the weight of a pair is kept.</summary>
    /// <param name="seed">Seed.</param>
    /// <param name="p">Probability of being dropped, 0 to 1.</param>
    /// <param name="batch">Batch entry.</param>
    /// <param name="head">Query head.</param>
    /// <param name="query">Query.</param>
    /// <param name="key">Key.</param>
    public static bool Keeps(ulong seed, double p, int batch, int head, int query, int key)
    {
        (uint x0, uint x1, uint x2, uint x3) = Philox(seed, (uint)key >> 2, (uint)query, (uint)head, (uint)batch);
        return p < 1 && (int)((key & 3) switch { 0 => x0, 1 => x1, 2 => x2, _ => x3 }) >= Threshold(p);
    }

    /// <summary>Philox4x32-10 of a counter of four words.</summary>
    internal static (uint, uint, uint, uint) Philox(ulong key, uint x0, uint x1, uint x2, uint x3)
    {
        (uint k0, uint k1) = ((uint)key, (uint)(key >> 32));
        for (int round = 0; round < Rounds; round++, k0 += Weyl0, k1 += Weyl1)
        {
            ulong a = (ulong)Multiplier0 * x0, b = (ulong)Multiplier1 * x2;
            (x0, x1, x2, x3) = ((uint)(b >> 32) ^ x1 ^ k0, (uint)b, (uint)(a >> 32) ^ x3 ^ k1, (uint)a);
        }
        return (x0, x1, x2, x3);
    }

    /// <summary>What a word must at least be for its element to be kept; where p is 1 the factor of what is kept is 0.</summary>
    internal static int Threshold(double p) => (int)Math.Min(int.MaxValue, Math.Round(p * 4294967296.0) - 2147483648.0);

    /// <summary>1 / (1 - p), what kept elements are multiplied by.</summary>
    internal static double Factor(double p) => p < 1 ? 1 / (1 - p) : 0;
}
