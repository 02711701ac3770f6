using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>Bugs planted into the Hopper backward kernel: the emulation or the comparison with the reference must notice each of them.</summary>
public class HopperBackwardPlantedBugs
{
    private const string Kernel = "backward_hopper.cu", Scores = "hopper_backward_scores.cuh", Sums = "hopper_query_sums.cuh";

    /// <summary>What a bug shows in.</summary>
    public enum In
    {
        /// <summary>d = 64: 128 queries a tile; a diagonal, grouped heads, gaps between the rows.</summary>
        Narrow,

        /// <summary>d = 128: 64 queries a tile, dK under way across tiles; the same otherwise.</summary>
        Medium,

        /// <summary>d = 160: columns shared out unequally; the same otherwise.</summary>
        Wide,

        /// <summary>Many tiles for one block of keys, no mask.</summary>
        ManyTiles,

        /// <summary>Scores far below 0, a last tile that is not full.</summary>
        LowScores,

        /// <summary>Scale below 0.</summary>
        NegativeScale,

        /// <summary>A NaN in a query that most blocks of keys do not meet.</summary>
        NotANumber,
    }

    public static TheoryData<In, string, string, string> Bugs => new()
    {
        // Which pairs count.
        { In.LowScores, Scores, "key + 8 * r >= p.key_length ? (i64)1 << 31 : K_CAUSAL", "K_CAUSAL" },
        { In.Narrow, Scores, "(i64)key + 8 * r - p.diagonal : 0", "(i64)key + 8 * r - p.diagonal + 1 : 0" },
        { In.Medium, Kernel, "(i64)key + KEYS - 1 <= (i64)query + p.diagonal", "(i64)key <= (i64)query + p.diagonal" },
        { In.LowScores, Kernel, "&& key + KEYS <= p.key_length", "" },
        { In.Medium, Kernel, "(int)first_query / QUERIES;", "((int)first_query + QUERIES - 1) / QUERIES;" },
        { In.Narrow, Kernel, "head(keys.key_head * p.group)", "head(keys.key_head)" },
        // P and dS.
        { In.Narrow, Scores, "factor - as_float(i % 2 ? l.y : l.x)", "factor - as_float(l.x)" },
        { In.Medium, Scores, "s[4 * j + i] * (dp[4 * j + i] - as_float(i % 2 ? d.y : d.x))", "s[4 * j + i] * dp[4 * j + i]" },
        { In.Narrow, Scores, "i % 2 ? pair & 0xffff0000u : pair << 16", "i % 2 ? pair << 16 : pair & 0xffff0000u" },
        { In.Medium, Scores, "+ lane / 16) ^ r % 8", "+ lane / 16) ^ r % 4" },
        { In.NegativeScale, Kernel, "K_NEGATE ? -p.scale_log2 : p.scale_log2", "p.scale_log2" },
        { In.Narrow, Kernel, "dk, r, (float)p.scale, exists", "dk, r, 1.f, exists" },
        // The columns of wide heads.
        { In.Wide, Kernel, "to_value + w * VALUE_SPLIT", "to_value + w * KEY_SPLIT" },
        { In.Wide, Sums, "shuffle_xor(odd ? top[0] : bottom[0], 1)", "shuffle_xor(top[0], 1)" },
        // What is under way, and for how long.
        { In.Medium, Kernel, "      fence_async();\n      named_sync(ALL_CONSUMERS, 128 * CONSUMERS);\n", "      named_sync(ALL_CONSUMERS, 128 * CONSUMERS);\n" },
        { In.Medium, Kernel, "      fence_async();\n      named_sync(ALL_CONSUMERS, 128 * CONSUMERS);\n", "      fence_async();\n" },
        { In.Medium, Kernel, "wgmma_wait<2>();", "wgmma_wait<3>();" },
        { In.ManyTiles, Kernel, "SCORE_GRADIENT + step % 2 * ScoreTile::BYTES", "SCORE_GRADIENT" },
        { In.Wide, Kernel, "PROBABILITY + step % 2 * ScoreTile::BYTES", "PROBABILITY" },
        { In.ManyTiles, Kernel, "      wgmma_wait<1>();\n      if (step > 0) key_gradients_done(last_query);\n", "      if (step > 0) key_gradients_done(last_query);\n      wgmma_wait<1>();\n" },
        { In.ManyTiles, Kernel, "wgmma_wait<LATE_KEY_GRADIENTS ? 1 : 0>();", "wgmma_wait<2>();" },
        { In.ManyTiles, Kernel, "    barriers.gradient().release(gradient);\n", "" },
        { In.Medium, Kernel, "store_score_gradients();\n    wgmma_fence();", "store_score_gradients();" },
        { In.Medium, Kernel, "if (step + 1 < keys.steps) next_query.advance();", "next_query.advance();" },
        { In.Medium, Kernel, "acquire(at, GradientTile::BYTES + ROW_BYTES)", "acquire(at, GradientTile::BYTES)" },
        // The sums of dQ.
        { In.ManyTiles, Sums, "mbarrier_wait(free(), parity ^ 1);", "" },
        { In.Medium, Sums, "  DEVICE void end() const {\n    fence_async();\n", "  DEVICE void end() const {\n" },
        { In.ManyTiles, Sums, "    bulk_wait_read<0>();\n", "" },
        { In.Medium, Sums, "swap(other & 2, v[k], v[k + 2])", "swap(other & 1, v[k], v[k + 2])" },
        // What no tile of a row reads.
        { In.NotANumber, Kernel, "(int)first_query / QUERIES;", "0;" },
    };

    [EmulatedTheory]
    [MemberData(nameof(Bugs))]
    public void IsCaught(In what, string file, string text, string replacement) => PlantedBug.AssertCaught(file, text, replacement, Check(what));

    /// <summary>Nothing is noticed where there is no bug.</summary>
    [EmulatedFact]
    public void NoBugIsNotCaught()
    {
        foreach (In what in Enum.GetValues<In>())
            Check(what)(KernelSources.Embedded);
    }

    private static Action<KernelSources> Check(In what) => sources =>
    {
        AttentionProblem causal = HopperBackwardTests.Plain with { Heads = 2, KeyHeads = 1, QueryLength = 215, KeyLength = 150, Causal = CausalMask.BottomRight };
        switch (what)
        {
            case In.Narrow:
                Run(causal with { Heads = 4, KeyHeads = 2 });
                break;
            case In.Medium:
                Run(causal with { HeadDim = 128, ValueDim = 128 });
                break;
            case In.Wide:
                Run(causal with { HeadDim = 160, ValueDim = 160 });
                break;
            case In.ManyTiles:
                Run(HopperBackwardTests.Plain with { QueryLength = 450, KeyLength = 128, HeadDim = 96, ValueDim = 96 });
                break;
            case In.LowScores:
                HopperBackwardTests.Check(HopperBackwardTests.Plain with { QueryLength = 70, KeyLength = 150, HeadDim = 128, ValueDim = 128, Scale = 0.25 }, shift: 3, sources: sources);
                break;
            case In.NegativeScale:
                Run(causal with { Scale = -0.125 });
                break;
            default:
                HopperNonFiniteTests.Check(128, "Q", 5, double.NaN, CausalMask.TopLeft, sources);
                break;
        }

        void Run(AttentionProblem problem) => HopperBackwardTests.Check(problem, Layout.Gaps, sources: sources);
    };
}
