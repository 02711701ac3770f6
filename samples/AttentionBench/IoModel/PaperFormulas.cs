namespace AttentionBench.IoModel;

/// <summary>
/// Bytes between a fast memory of M bytes, which the program itself fills, and the memory behind it: what "FlashAttention" (Dao, Fu, Ermon, Rudra, Ré
/// 2022) counts, with the constants written out. Standard attention: Theta(N d + N²); tiled: Theta(N² d² / M) for d e &lt;= M &lt;= N d e
/// (theorem 2, backward theorem 5), and no exact algorithm does with less for all such M (proposition 3).
/// </summary>
internal static class PaperFormulas
{
    /// <summary>
    /// Algorithm 0 and its derivative, every matrix written out: forward reads Q, K and writes S; reads S, writes P; reads P, V and writes O. Backward
    /// (algorithm 3) has dV = Pᵀ dO; dP = dO Vᵀ; dS = P o (dP - delta); dQ = dS K; dK = dSᵀ Q.
    /// </summary>
    public static double Standard(HeadShape h, bool isBackward) => isBackward ? 8 * h.Operand + 7 * h.Scores : 4 * h.Operand + 4 * h.Scores;

    /// <summary>
    /// Algorithms 1 and 4 as the paper tiles them: Bc = M / 4d rows of K and V stay while all of Q and O (forward), or of Q, O, dO and dQ (backward), and
    /// two statistics a row pass by; what is summed is written too.
    /// </summary>
    public static double Tiled(HeadShape h, double cache, bool isBackward)
    {
        double row = (double)h.HeadDim * h.ElementSize, keys = Math.Clamp(Math.Ceiling(cache / (4 * row)), 1, h.Length);
        double tiles = Math.Ceiling(h.Length / keys), statistics = 2.0 * h.Length * h.ElementSize;
        return isBackward
            ? 4 * h.Operand + tiles * (5 * h.Operand + statistics) // K, V in, dK, dV out; Q, O, dO, dQ in, dQ out
            : 2 * h.Operand + tiles * (3 * h.Operand + 2 * statistics); // K, V in; Q, O, statistics in, O, statistics out
    }

    /// <summary>Every operand once: what no tiling comes below.</summary>
    public static double Compulsory(HeadShape h, bool isBackward) => (isBackward ? 8 : 4) * h.Operand;

    /// <summary>N² d² / M: what the paper's bounds are constant factors of.</summary>
    public static double Bound(HeadShape h, double cache) => h.Operand * h.Operand / cache;
}
