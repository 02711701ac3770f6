using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>Bugs planted into the forward kernel with mma.sync and its headers: each must be found, by the emulation or by the comparison with the reference.</summary>
public class MmaForwardPlantedBugs
{
    private const string Kernel = "forward_mma.cu", Tile = "tile.cuh", Softmax = "softmax.cuh", Masking = "masking.cuh", Work = "work.cuh", Epilogue = "epilogue.cuh";

    private static readonly AttentionProblem Wide = MmaForwardTests.Plain with { HeadDim = 64, ValueDim = 48, KeyHeads = 1, QueryLength = 150, KeyLength = 230, Causal = CausalMask.BottomRight };

    private static void Check(int device, AttentionProblem problem, KernelSources sources, double amplitude = 1, double shift = 0) =>
        GpuCase.Check(device, problem, Passes.Forward, Layout.Gaps, Layout.Gaps, tuning: MmaForwardTests.Mma, sources: sources, amplitude: amplitude, shift: shift);

    /// <summary>Two buffers of K and V, several tiles of keys, a partial one, causal, grouped heads.</summary>
    private static void TwoStages(KernelSources sources) => Check(EmulatedDevices.Hopper, Wide, sources, amplitude: 2);

    private static void OneStage(KernelSources sources) => Check(EmulatedDevices.SmallAmpere, Wide with { ValueDim = 64 }, sources);

    /// <summary>The first query sees all of a tile but its last key.</summary>
    private static void OneKeyHidden(KernelSources sources) => Check(EmulatedDevices.Hopper, Wide with { QueryLength = 65, KeyLength = 127 }, sources);

    private static void GroupedHeads(KernelSources sources) => Check(EmulatedDevices.Hopper, Wide with { Heads = 4, KeyHeads = 2, QueryLength = 20, KeyLength = 30 }, sources);

    private static void RowsWithoutKeys(KernelSources sources) => Check(EmulatedDevices.Hopper, Wide with { QueryLength = 130, KeyLength = 40 }, sources, shift: 4);

    private static void LargeScores(KernelSources sources) => Check(EmulatedDevices.Hopper, Wide with { Scale = 1 }, sources, amplitude: 8);

    private static void Negative(KernelSources sources) => Check(EmulatedDevices.Hopper, Wide with { Scale = -0.25 }, sources);

    private static void NarrowTile(KernelSources sources) => Check(EmulatedDevices.Ampere, Wide with { HeadDim = 40, ValueDim = 24 }, sources);

    private static void Batches(KernelSources sources) => Check(EmulatedDevices.Hopper, Wide with { Batch = 3, Heads = 2, QueryLength = 20, KeyLength = 30, Causal = CausalMask.None }, sources);

    private static void NotFinite(KernelSources sources) => NonFiniteTests.CheckRowsWithoutKeys(ElementType.BFloat16, "V", deterministic: true, sources);

    private static void MinusInfinity(KernelSources sources) => NonFiniteTests.CheckMinusInfinity(ElementType.BFloat16, sources: sources);

    private static readonly (string Bug, string File, string Text, string Replacement, Action<KernelSources>[] Checks)[] Table =
    [
        ("no barrier in the loop", Kernel, "sync_threads();                      // tile j (with", "// tile j (with", [TwoStages]),
        ("no wait for the tile", Kernel, "cp_async_wait<0>();\n    sync_threads();                      // tile j (with", "sync_threads();                      // tile j (with", [TwoStages]),
        ("wait for all groups but one", Kernel, "cp_async_wait<0>();\n    sync_threads();                      // tile j (with", "cp_async_wait<1>();\n    sync_threads();                      // tile j (with", [TwoStages]),
        ("no wait for V", Kernel, "cp_async_wait<0>();\n      sync_threads();                    // V of", "sync_threads();                    // V of", [OneStage]),
        ("no barrier before V", Kernel, "sync_threads();                    // V of tile j", "// V of tile j", [OneStage]),
        ("K into the buffer in use", Kernel, "shared + KEY + turn % STAGES * KEY_BYTES", "shared + KEY + (turn + 1) % STAGES * KEY_BYTES", [TwoStages]),
        ("V into the buffer in use", Kernel, "shared + VALUE + turn % STAGES * VALUE_BYTES", "shared + VALUE + (turn + 1) % STAGES * VALUE_BYTES", [TwoStages]),
        ("the first group is not committed", Kernel, "if (STAGES == 2) load_value<false>(tile, turn);\n    cp_async_commit();", "if (STAGES == 2) load_value<false>(tile, turn);", [TwoStages]),
        ("the same K every time", Kernel, "    if (!score::HIDES) key_loader.move(-COLUMNS);\n", "", [TwoStages]),
        ("V from the first tile", Kernel, "    value_loader.move(tile * COLUMNS);\n", "", [TwoStages]),
        ("K transposed", Kernel, "ldmatrix4(f, key + n", "ldmatrix4_trans(f, key + n", [TwoStages]),
        ("V not transposed", Kernel, "ldmatrix4_trans(f, value + k", "ldmatrix4(f, value + k", [TwoStages]),
        ("steps of K half as wide", Kernel, "key + n * 16 * tile_stride(HEAD_DIM) + k * 32", "key + n * 16 * tile_stride(HEAD_DIM) + k * 16", [TwoStages]),
        ("Q of another warp", Kernel, "thread_id() / 32 * WARP_ROWS * tile_stride(HEAD_DIM)", "thread_id() / 32 * 16 * tile_stride(HEAD_DIM)", [TwoStages]),
        ("idle warps that have work", Kernel, "visible_keys(p, warp_first + WARP_ROWS - 1) <= j * COLUMNS", "visible_keys(p, warp_first) <= j * COLUMNS", [TwoStages]),
        ("a tile left unmasked", Kernel, "(j + 1) * COLUMNS > keys.whole", "j * COLUMNS > keys.whole", [TwoStages]),
        ("the last tile forgotten", Kernel, "int j = (keys.end + COLUMNS - 1) / COLUMNS - 1;", "int j = keys.end / COLUMNS - 1;", [TwoStages]),
        ("grouped heads ignored", Kernel, "p.key, unit.batch, unit.head / p.group", "p.key, unit.batch, unit.head", [GroupedHeads]),
        ("statistics of rows that do not exist", Kernel, "if (row < p.query_length) {\n          stg((float*)p.maximum", "{\n          stg((float*)p.maximum", [TwoStages]),
        ("O over operands in use", Kernel, "sync_threads();                      // all are done with the operands: O", "// all are done with the operands: O", [TwoStages]),
        ("a negative scale taken for a positive one", Kernel, "s[m][n][i] = -s[m][n][i];", "s[m][n][i] = s[m][n][i];", [Negative]),
        ("keys seen by another row", Kernel, "visible_keys(p, warp_first + m * 16 + r * 8 + thread_id() % 32 / 4)", "visible_keys(p, warp_first + m * 16 + thread_id() % 32 / 4)", [TwoStages]),
        ("rows read past the end", Tile, "WHOLE || row() + i < rows", "true", [TwoStages]),
        ("no padding of rows: bank conflicts", Tile, "return columns * 2 + 16;", "return columns * 2;", [TwoStages]),
        ("halves of B in the wrong order", Tile, "((thread_id() & 7) + ((thread_id() >> 4) & 1) * 8) * stride + ((thread_id() >> 3) & 1) * 16", "lane_down(stride)", [TwoStages]),
        ("columns read past the end", Tile, "exists = exists && thread_id() % LANES != LANES - 1;", "exists = exists;", [NarrowTile]),
        ("half of a tile not loaded", Tile, "for (int i = 0; i < ROWS; i += STEP, p", "for (int i = 0; i < ROWS / 2; i += STEP, p", [TwoStages]),
        ("operands overwritten before use", Tile, "BUFFERS = AHEAD + 1", "BUFFERS = AHEAD", [TwoStages]),
        ("sums not cleared", Tile, "x[m][n][i] = 0.f;", ";", [TwoStages]),
        ("A of the step before", Tile, "left[k % 2][m], right[i % BUFFERS][2]", "left[0][m], right[i % BUFFERS][2]", [TwoStages]),
        ("a maximum over half of the lanes", Softmax, "      x = fmaxf(x, shuffle_xor(x, 1));\n", "", [TwoStages, LargeScores]),
        ("l not rescaled", Softmax, "sum[m][r] *= factor;", "", [LargeScores]),
        ("half of O not rescaled", Softmax, "o[m][n][2 * r + 1] *= factor;", "", [LargeScores]),
        ("m raised without O", Softmax, "if (far[m][r]) maximum[m][r] = largest[m][r];", "maximum[m][r] = largest[m][r];", [TwoStages, LargeScores]),
        ("never rescaled", Softmax, "* scale_log2 > SLACK;", "* scale_log2 > 1e30f;", [LargeScores]),
        ("-inf - -inf", Softmax, "maximum[m][r] == -infinity() ? 0.f : maximum[m][r] * scale_log2", "maximum[m][r] * scale_log2", [TwoStages]),
        ("1 / 0", Softmax, "if (l == 0.f) clear_row(o, factor[m][r], m, r);", "", [RowsWithoutKeys]),
        ("0 times NaN in rows without keys", Softmax, "x[m][n][2 * r] = x[m][n][2 * r + 1] = 0.f;", ";", [NotFinite]),
        ("a sum over half of the lanes", Softmax, "      l += shuffle_xor(l, 2);\n", "", [TwoStages]),
        ("a shuffle that some lanes miss", Softmax, "      l += shuffle_xor(l, 2);\n", "      if (thread_id() & 4) l += shuffle_xor(l, 2);\n", [TwoStages]),
        ("registers of A exchanged", Softmax, "pack2<BF16>(s[m][2 * k + i / 2][i % 2 * 2], s[m][2 * k + i / 2][i % 2 * 2 + 1])", "pack2<BF16>(s[m][2 * k + i % 2][i / 2 * 2], s[m][2 * k + i % 2][i / 2 * 2 + 1])", [TwoStages]),
        ("the diagonal hidden", Masking, "n * 8 + i >= left", "n * 8 + i + 1 >= left", [TwoStages]),
        ("a key too many", Masking, "n * 8 + i >= left", "n * 8 + i > left", [TwoStages]),
        ("the diagonal moved", Masking, "query + p.diagonal + 1)", "query + p.diagonal)", [TwoStages]),
        ("whole tiles counted from the last row", Masking, "{visible_keys(p, first),", "{visible_keys(p, first + 1),", [OneKeyHidden]),
        ("batch and head exchanged", Work, "return {unit - h * tiles, h % heads, h / heads};", "return {unit - h * tiles, h / heads, h % heads};", [Batches]),
        ("the last heads' tiles", Work, "const int tile = left / here, h", "const int tile = left / together, h", [s => MmaForwardTests.CheckHeadsBeyondTheCache(s)]),
        ("rows stored past the end", Epilogue, "if (r < rows && column", "if (column", [TwoStages]),
        ("staged rows not awaited", Epilogue, "sync_warp();\n  UNROLL for (int i = 0; i < 16 * M * N", "UNROLL for (int i = 0; i < 16 * M * N", [TwoStages]),
    ];

    public static TheoryData<string> Bugs => [.. Table.Select(b => b.Bug)];

    [EmulatedTheory]
    [MemberData(nameof(Bugs))]
    public void IsCaught(string bug)
    {
        (_, string file, string text, string replacement, Action<KernelSources>[] checks) = Table.Single(b => b.Bug == bug);
        PlantedBug.AssertCaught(file, text, replacement, checks);
    }

    [EmulatedFact]
    public void ChecksPassWithoutBugs()
    {
        foreach (Action<KernelSources> check in Table.SelectMany(b => b.Checks).DistinctBy(c => c.Method))
            check(KernelSources.Embedded);
    }
}

/// <summary>Bugs planted into the backward kernels with mma.sync.</summary>
public class MmaBackwardPlantedBugs
{
    private const string Kernel = "backward_mma.cu", Query = "backward_query_mma.cu", Prepare = "backward_prepare.cu", Finish = "backward_finish.cu";

    private static readonly AttentionProblem Wide = MmaForwardTests.Plain with { HeadDim = 40, ValueDim = 32, KeyHeads = 1, QueryLength = 290, KeyLength = 150, Scale = 0.3, Causal = CausalMask.TopLeft };

    private static void Check(int device, AttentionProblem problem, KernelSources sources, bool deterministic = false, double shift = 0) =>
        GpuCase.Check(device, problem, Passes.Backward, Layout.Gaps, Layout.Gaps, deterministic, MmaForwardTests.Mma, sources, shift: shift);

    /// <summary>Two buffers of Q and dO, three tiles of queries, two of keys, a partial one, causal, grouped heads, dQ added four columns at a time.</summary>
    private static void TwoStages(KernelSources sources) => Check(EmulatedDevices.Hopper, Wide, sources);

    private static void OneStage(KernelSources sources) => Check(EmulatedDevices.SmallAmpere, Wide with { HeadDim = 128, ValueDim = 128 }, sources);

    /// <summary>Scores far below 0, beside which keys that do not exist would be large.</summary>
    private static void FarBelowZero(KernelSources sources) => Check(EmulatedDevices.Hopper, Wide with { KeyHeads = 0, QueryLength = 40, KeyLength = 40, Causal = CausalMask.None }, sources, shift: 5);

    private static void BottomRight(KernelSources sources) => Check(EmulatedDevices.Hopper, Wide with { QueryLength = 140, KeyLength = 300, Causal = CausalMask.BottomRight }, sources);

    private static void FixedOrder(KernelSources sources) => Check(EmulatedDevices.Hopper, Wide with { QueryLength = 150, KeyLength = 200 }, sources, deterministic: true);

    private static void NotFinite(KernelSources sources) => NonFiniteTests.Check(EmulatedDevices.Ampere, ElementType.BFloat16, "V", 101, double.NaN, CausalMask.TopLeft, sources);

    private static Action<KernelSources> RowsWithoutKeys(bool deterministic) => sources => NonFiniteTests.CheckRowsWithoutKeys(ElementType.BFloat16, "K", deterministic, sources);

    private static readonly (string Bug, string File, string Text, string Replacement, Action<KernelSources>[] Checks)[] Table =
    [
        ("no barrier in the loop", Kernel, "sync_threads();                        // this step's Q", "// this step's Q", [TwoStages]),
        ("no wait for Q and dO", Kernel, "cp_async_wait<0>();\n    sync_threads();                        // this", "sync_threads();                        // this", [TwoStages]),
        ("P and dS not awaited", Kernel, "sync_threads();                        // Pᵀ and dSᵀ are whole", "// Pᵀ and dSᵀ are whole", [TwoStages]),
        ("dO overwritten in use", Kernel, "sync_threads();                      // all are done with dO", "// all are done with dO", [OneStage]),
        ("Q into the buffer in use", Kernel, "const int stage = step.turn % SHAPE.query_stages;", "const int stage = (step.turn + 1) % SHAPE.query_stages;", [TwoStages]),
        ("dO into the buffer in use", Kernel, "const int stage = step.turn % SHAPE.gradient_stages;", "const int stage = (step.turn + 1) % SHAPE.gradient_stages;", [TwoStages]),
        ("log-sums not loaded", Kernel, "    load_rows(shared + LOG_SUM + stage * QUERIES * 4, p.log_sum + row_of(step), 0, exists);\n", "", [TwoStages]),
        ("deltas of the first tile", Kernel, "(const float*)p.delta + row_of(step)", "(const float*)p.delta + row_of({step.head, 0, 0})", [TwoStages]),
        ("log-sums of neighbours exchanged", Kernel, "* scale_log2 - as_float(i % 2 ? two.y : two.x)", "* scale_log2 - as_float(i % 2 ? two.x : two.y)", [TwoStages]),
        ("hidden pairs taken", Kernel, "      hide_queries(s, from, query + group * OWN);\n", "", [TwoStages]),
        ("hidden pairs of the first group", Kernel, "hide_queries(s, from, query + group * OWN);", "hide_queries(s, from, query);", [TwoStages]),
        ("keys that do not exist", Kernel, "    if (first + KEYS > p.key_length) return tiles;\n", "", [FarBelowZero]),
        ("a tile left unmasked", Kernel, "(first_query(p, first + KEYS - 1) + QUERIES - 1) / QUERIES", "first_query(p, first + KEYS - 1) / QUERIES", [TwoStages, BottomRight]),
        ("the first tile of queries left out", Kernel, "first_tile(first_query(p, first) / QUERIES)", "first_tile((first_query(p, first) + QUERIES / 2) / QUERIES)", [TwoStages, BottomRight]),
        ("dQ of shared columns added twice", Kernel, "if (DQ * (WARPS / ROW_GROUPS) == HEAD_DIM || column", "if (true || column", [TwoStages]),
        ("P of this group for the others'", Kernel, "(group + g) % GROUPS * OWN", "group * OWN", [TwoStages]),
        ("P stored transposed", Kernel, "(m * 16 + i % 2 * 8) * SCORE_STRIDE + (k * 16 + i / 2 * 8) * 2", "(m * 16 + i / 2 * 8) * SCORE_STRIDE + (k * 16 + i % 2 * 8) * 2", [TwoStages]),
        ("halves of dQ exchanged", Kernel, "odd ? x[2] : a, odd ? x[3] : b", "odd ? a : x[2], odd ? b : x[3]", [TwoStages]),
        ("dQ added by ordinary stores", Kernel, "UNROLL for (int i = 0; i < 4; i++) atomic_add(to + (row + i / 2 * 8) * p.padded_dim + pair * 2 + i % 2, x[i]);",
            "UNROLL for (int i = 0; i < 4; i++) { float* at = to + (row + i / 2 * 8) * p.padded_dim + pair * 2 + i % 2; stg(at, ldg(at) + x[i]); }", [OneStage]),
        ("dK without the scale", Kernel, "scale[m][r] = (float)p.scale;", "scale[m][r] = 1.f;", [TwoStages]),
        ("one head of the group", Kernel, "return ++step.head < p.group && find(step);", "return ++step.head < 1 && find(step);", [TwoStages]),
        ("rows of the group's first head", Kernel, "unit.head * p.group + step.head) * p.padded_queries", "unit.head * p.group) * p.padded_queries", [TwoStages]),
        ("dK over operands in use", Kernel, "sync_threads();                        // all are done with the operands: dK", "// all are done with the operands: dK", [TwoStages]),
        ("dS not transposed", Kernel, "ldmatrix4_trans(f, left + k * 16 * SCORE_STRIDE + m * 32)", "ldmatrix4(f, left + k * 16 * SCORE_STRIDE + m * 32)", [TwoStages]),
        ("delta forgotten", Kernel, "weights[m][n][i] * (dp[m][n][i] - as_float(i % 2 ? two.y : two.x))", "weights[m][n][i] * dp[m][n][i]", [TwoStages]),
        ("columns stored twice", "epilogue.cuh", "r < rows && column + c * 8 >= own && column", "r < rows && column", [TwoStages]),
        ("NaN of a hidden V, fixed order", Query, "MASKED && s[0][n][i] == -infinity() ? 0.f : ", "", [NotFinite]),
        ("NaN of a hidden K in rows without keys", Finish, "const bool empty = ldg(log_sum + row) == infinity();", "const bool empty = false;", [RowsWithoutKeys(false)]),
        ("NaN of a hidden K in rows without keys, fixed order", Query, "if (log_sum[r] == infinity()) clear_row", "if (false) clear_row", [RowsWithoutKeys(true)]),
        ("no barrier in the loop, fixed order", Query, "sync_threads();                      // tile j has landed", "// tile j has landed", [FixedOrder]),
        ("delta of another row, fixed order", Query, "delta[r] = ldg((const float*)p.delta + rows + r * 8);", "delta[r] = ldg((const float*)p.delta + rows);", [FixedOrder]),
        ("V for K, fixed order", Query, "scores<VALUE_DIM>(dp, shared + GRADIENT, value);", "scores<VALUE_DIM>(dp, shared + GRADIENT, key);", [FixedOrder]),
        ("rows past the end of delta", Prepare, "row < p.query_length && chunk < CHUNKS ?", "row < p.query_length ?", [TwoStages, FixedOrder]),
        ("half of the sums not cleared", Prepare, "i < ROWS * p.padded_dim / 4", "i < ROWS * p.padded_dim / 8", [TwoStages]),
        ("half of delta", Prepare, "mask = LANES / 2", "mask = LANES / 4", [OneStage]),
        ("log-sum without m", Prepare, "m * p.scale_log2 + lg2(l)", "lg2(l)", [TwoStages]),
        ("dQ without the scale", Finish, "const float scale = (float)p.scale;", "const float scale = 1.f;", [TwoStages]),
        ("rows of dQ past the end", Finish, "smaller(ROWS, p.query_length - first)", "ROWS", [TwoStages]),
    ];

    public static TheoryData<string> Bugs => [.. Table.Select(b => b.Bug)];

    [EmulatedTheory]
    [MemberData(nameof(Bugs))]
    public void IsCaught(string bug)
    {
        (_, string file, string text, string replacement, Action<KernelSources>[] checks) = Table.Single(b => b.Bug == bug);
        PlantedBug.AssertCaught(file, text, replacement, checks);
    }

    [EmulatedFact]
    public void ChecksPassWithoutBugs()
    {
        foreach (Action<KernelSources> check in Table.SelectMany(b => b.Checks).DistinctBy(c => c.Method))
            check(KernelSources.Embedded);
    }
}
