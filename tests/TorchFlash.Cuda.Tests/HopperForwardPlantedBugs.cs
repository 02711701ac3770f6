using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>Bugs planted into the Hopper forward kernel and what it is made of: missing waits, wrong phases, mixed-up stages, wrong descriptors, ...</summary>
public class HopperForwardPlantedBugs
{
    private const string Main = "forward_hopper.cu", Tile = "hopper_tile.cuh", Pipeline = "hopper_pipeline.cuh",
        Softmax = "hopper_softmax.cuh", Epilogue = "hopper_epilogue.cuh", Work = "hopper_work.cuh";

    // Short tiles and two stages: every stage is used again and again.
    private static readonly KernelTuning Tuning =
        KernelTuning.None.With(HopperForwardTests.Kernel, "K_BLOCK_M", 128).With(HopperForwardTests.Kernel, "K_BLOCK_N", 32).With(HopperForwardTests.Kernel, "K_STAGES", 2);

    /// <summary>Two panels of Q and K, the second in part; units of several tiles with masked ones, one tile, no tile; two heads share K and V.</summary>
    private static readonly AttentionProblem Problem = HopperForwardTests.Small with
    {
        Heads = 4,
        KeyHeads = 2,
        QueryLength = 290,
        KeyLength = 150,
        HeadDim = 72,
        ValueDim = 72,
        Causal = CausalMask.BottomRight,
    };

    private static void Check(KernelSources? sources) =>
        GpuCase.Check(EmulatedDevices.Hopper, Problem, Passes.Forward, Layout.Gaps, Layout.Gaps, tuning: Tuning, sources: sources, amplitude: 3);

    private static void CheckPanels(KernelSources? sources) =>
        GpuCase.Check(EmulatedDevices.Hopper, Problem with { HeadDim = 64, ValueDim = 128, Heads = 1, KeyHeads = 1, Scale = -0.125 }, Passes.Forward, tuning: Tuning, sources: sources);

    [EmulatedFact]
    public void NoBugNoFinding()
    {
        Check(null);
        CheckPanels(null);
    }

    // ---- barriers of the rings
    [EmulatedTheory]
    [InlineData("first Q", "barriers.query(index).wait(queries);\n    barriers.key().wait(keys);\n    wgmma_fence", "barriers.key().wait(keys);\n    wgmma_fence")]
    [InlineData("next Q", "if (first) barriers.query(index).wait(queries);", "")]
    [InlineData("K", "barriers.key().wait(keys);\n    turns.take();", "turns.take();")]
    [InlineData("V", "issue_scores();\n    barriers.value().wait(values);", "issue_scores();")]
    [InlineData("last V", "void end(const QueryBlock& block) {\n    barriers.value().wait(values);", "void end(const QueryBlock& block) {")]
    [InlineData("scores", "wgmma_wait<1>();", "wgmma_wait<2>();")]
    [InlineData("O", "wgmma_wait<0>();\n    output_done();\n    accumulator", "wgmma_wait<1>();\n    output_done();\n    accumulator")]
    public void MissingWait(string what, string text, string replacement) => AssertCaught(what, Main, text, replacement);

    [EmulatedTheory]
    [InlineData("consumer, other parity", "mbarrier_wait(full(at.stage), at.parity);", "mbarrier_wait(full(at.stage), at.parity ^ 1);")]
    [InlineData("producer, other parity", "at.parity ^ 1);", "at.parity);")]
    [InlineData("parity stays", "stage = 0; parity ^= 1;", "stage = 0;")]
    [InlineData("producer does not wait", "    mbarrier_wait(empty(at.stage), at.parity ^ 1);\n", "")]
    [InlineData("every lane releases", "if (thread_id() % 32 == 0) mbarrier_arrive", "mbarrier_arrive")]
    public void Rings(string what, string text, string replacement) => AssertCaught(what, Pipeline, text, replacement);

    [EmulatedTheory]
    [InlineData("one consumer counted", "key().init(4 * CONSUMERS);", "key().init(4);")]
    [InlineData("K kept", "    barriers.key().release(keys);\n", "")]
    [InlineData("K released too early", "wgmma_wait<1>();\n    scores_done();", "scores_done();\n    wgmma_wait<1>();")]
    [InlineData("Q kept", "    barriers.query(index).release(queries);\n", "")]
    [InlineData("Q released too early", "wgmma_wait<1>();\n    scores_done();\n    if (tile == 0) release_query();", "if (tile == 0) release_query();\n    wgmma_wait<1>();\n    scores_done();")]
    [InlineData("round of Q not counted", "release(queries);\n    queries.advance();", "release(queries);")]
    [InlineData("consumer takes V by the stage of K", "VALUE + values.stage * ValueTile::BYTES, 0, true", "VALUE + keys.stage * ValueTile::BYTES, 0, true")]
    [InlineData("producer puts V by the stage of K", "ValueTile::load(shared + VALUE + values.stage", "ValueTile::load(shared + VALUE + keys.stage")]
    [InlineData("one stage for all K", "KEY + keys.stage * KeyTile::BYTES, 0, false", "KEY, 0, false")]
    [InlineData("barrier of the other stage", "barriers.key().full(keys.stage), tile", "barriers.key().full((keys.stage + 1) % STAGES), tile")]
    [InlineData("half the bytes announced", "acquire(keys, KeyTile::BYTES)", "acquire(keys, KeyTile::BYTES / 2)")]
    [InlineData("V of the unit before left out", "      if (begun) load_value(previous, 0);\n", "")]
    [InlineData("no barrier of the block after the initialisation", "  sync_threads();\n", "")]
    [InlineData("no fence after the initialisation", "    mbarrier_fence_init();\n", "")]
    public void Stages(string what, string text, string replacement) => AssertCaught(what, Main, text, replacement);

    // ---- warpgroups
    [EmulatedTheory]
    [InlineData("no fence", "turns.take();\n    wgmma_fence();", "turns.take();")]
    [InlineData("no commit", "keys.stage * KeyTile::BYTES, 0, false);\n    wgmma_commit();", "keys.stage * KeyTile::BYTES, 0, false);")]
    [InlineData("turn kept", "    turns.pass();\n", "")]
    [InlineData("turn not awaited", "    turns.take();\n", "")]
    [InlineData("nobody begins", "    turns.start();\n", "")]
    [InlineData("named barrier for half of them", "named_sync(barrier(consumer), 256)", "named_sync(barrier(consumer), 128)")]
    [InlineData("registers that are not there", "registers_increase<CONSUMER_REGISTERS>", "registers_increase<CONSUMER_REGISTERS + 8>")]
    public void Warpgroups(string what, string text, string replacement) => AssertCaught(what, Main, text, replacement);

    [EmulatedTheory]
    [InlineData("K-major stride", "tile + offset * SWIZZLE, 16, 8 * SWIZZLE", "tile + offset * SWIZZLE, 16, 16 * SWIZZLE")]
    [InlineData("K-major step", "k % PANEL * 2 :", "k % PANEL :")]
    [InlineData("K-major panel", "(u32)(k / PANEL) * PANEL_BYTES", "(u32)(k / PANEL) * 1024")]
    [InlineData("MN-major panel", "PANEL_BYTES, 8 * SWIZZLE);", "8 * SWIZZLE, 8 * SWIZZLE);")]
    [InlineData("MN-major step", "(u32)k * SWIZZLE) >> 4", "(u32)k * SWIZZLE / 2) >> 4")]
    [InlineData("panels loaded from the same columns", "barrier, panel * PANEL, row", "barrier, 0, row")]
    public void Descriptors(string what, string text, string replacement) => AssertCaught(what, Tile, text, replacement);

    // ---- mathematics
    [EmulatedTheory]
    [InlineData("diagonal off by one", Softmax, "c < left ?", "c <= left ?")]
    [InlineData("columns of another lane", Softmax, "thread_id() % 4 * 2", "thread_id() % 4")]
    [InlineData("masked tile taken for a whole one", Main, ".whole / COLUMNS", ".end / COLUMNS")]
    [InlineData("rows of another warp", Main, "thread_id() % 128 / 32 * 16", "thread_id() % 128 / 32 * 8")]
    [InlineData("key head of the query head", Main, "block.key_head(p), block.batch(p));\n    keys.advance", "block.head(p), block.batch(p));\n    keys.advance")]
    [InlineData("pairs in the accumulator's order", Tile, "acc[8 * k + 2 * i], acc[8 * k + 2 * i + 1]", "acc[8 * k + 2 * (i % 2 * 2 + i / 2)], acc[8 * k + 2 * (i % 2 * 2 + i / 2) + 1]")]
    [InlineData("sign of the scale lost", Main, "if constexpr (K_NEGATE) UNROLL", "if constexpr (false) UNROLL")]
    [InlineData("O not rescaled", Main, "} else if (moved) {", "} else if (false) {")]
    [InlineData("l not rescaled", Softmax, "      sum[r] *= c[r];\n", "")]
    [InlineData("maximum of one thread", Softmax, "maximum[r] = larger_of_quad(fmaxf(even, odd))", "maximum[r] = fmaxf(even, odd)")]
    [InlineData("1 / 0 for a row without keys", Softmax, "l == 0.f ? 0.f : 1.f / l", "1.f / l")]
    [InlineData("-inf - -inf", Softmax, "reference[r] == -infinity() ? 0.f : reference[r] * scale_log2", "reference[r] * scale_log2")]
    public void Mathematics(string what, string file, string text, string replacement) => AssertCaught(what, file, text, replacement);

    // ---- from unit to unit, and out
    [EmulatedTheory]
    [InlineData("O of the unit before not cleared", Main, "      clear_output();\n    } else", "    } else")]
    [InlineData("O stored as the next unit's", Main, "      store(previous, factor);", "      store(block, factor);")]
    [InlineData("statistics begun before they are stored", Main, "finish_rows(previous, factor);\n      start_rows(block);", "start_rows(block);\n      finish_rows(previous, factor);")]
    [InlineData("units without keys left out", Main, "[&](const QueryBlock& empty) { store_empty(empty); }", "[](const QueryBlock&) {}")]
    [InlineData("units between the rounds left out", Work, "begin = round * blocks", "begin = round * (blocks + 1)")]
    [InlineData("rows past the end stored", Main, "factor[r],\n          row < p.query_length);", "factor[r], true);")]
    [InlineData("columns past d_v stored", Epilogue, "stored && column + 8 * t < COLUMNS", "stored")]
    [InlineData("half a transposition", Epilogue, "    if (high) w[i] = other; else w[i + 2] = other;\n", "")]
    public void Units(string what, string file, string text, string replacement) => AssertCaught(what, file, text, replacement);

    // ---- NaN behind the mask
    [EmulatedTheory]
    [InlineData("0 times NaN in rows without keys", "o[i] = o[i + 1] = 0.f;", ";")]
    [InlineData("a tile more than any row sees", ".end + COLUMNS - 1) / COLUMNS", ".end + 2 * COLUMNS - 1) / COLUMNS")]
    public void NonFinite(string what, string text, string replacement)
    {
        Assert.NotEmpty(what);
        PlantedBug.AssertCaught(Main, text, replacement,
            sources => HopperNonFiniteTests.CheckRowsWithoutKeys("V", sources),
            sources => HopperNonFiniteTests.Check(64, "V", 357, double.NaN, CausalMask.TopLeft, sources!));
    }

    private static void AssertCaught(string what, string file, string text, string replacement)
    {
        Assert.NotEmpty(what);
        PlantedBug.AssertCaught(file, text, replacement, Check, CheckPanels);
    }
}
