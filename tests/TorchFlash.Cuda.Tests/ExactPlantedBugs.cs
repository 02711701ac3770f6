using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>Bugs planted into the float32 and float64 kernels and the averaged weights: the tests must notice each of them.</summary>
public class ExactPlantedBugs
{
    /// <summary>What a bug shows in.</summary>
    public enum In
    {
        /// <summary>Several tiles, a diagonal, grouped heads, gaps between the rows.</summary>
        Values,

        /// <summary>The same with rows that are aligned to elements only.</summary>
        Misaligned,

        /// <summary>Queries that see no key.</summary>
        EmptyRows,

        /// <summary>Scale 0.</summary>
        NoScale,

        /// <summary>Scale below 0.</summary>
        NegativeScale,

        /// <summary>Scores far below 0, a last tile that is not full.</summary>
        LowScores,

        /// <summary>Scores that overflow to -inf in a whole tile.</summary>
        Overflow,

        /// <summary>Rows of scores of -inf.</summary>
        MinusInfinity,

        /// <summary>A NaN in a value that rows of its tile do not see.</summary>
        NotANumber,

        /// <summary>A NaN in a key or value that the rows without keys share a tile with.</summary>
        NotANumberUnseen,
    }

    private static readonly AttentionProblem Causal = ExactTests.Plain with
    {
        Heads = 4,
        KeyHeads = 2,
        QueryLength = 140,
        KeyLength = 200,
        HeadDim = 24,
        ValueDim = 40,
        Scale = 0.25,
        Causal = CausalMask.BottomRight,
    };

    public static TheoryData<In, string, string, string> Bugs => new()
    {
        // The online softmax.
        { In.Overflow, "forward_exact.cu", "largest == -infinity() ? Real(0) : largest", "largest" },
        { In.NoScale, "forward_exact.cu", "before == -infinity() ? Real(0) : exp2_of((before", "exp2_of((before" },
        { In.Values, "forward_exact.cu", "o[r][n] *= rescale;", "" },
        { In.Values, "forward_exact.cu", "fused(l.get(r, lane), rescale, sum_in_row(sum))", "l.get(r, lane) + sum_in_row(sum)" },
        { In.Values, "forward_exact.cu", "m.set(r, largest, lane);", "m.set(r, m.get(r, lane), lane);" },
        { In.Values, "forward_exact.cu", "largest = largest_in_row(largest);", "" },
        { In.EmptyRows, "forward_exact.cu", "if (empty) clear_row(o, inverse[r], r);", "" },
        { In.MinusInfinity, "exact_scores.cuh", "  return m = 0;", "  return 0;" },
        { In.Values, "exact_product.cuh", "mask == 1 ? 4 : mask * 2) x += ", "mask * 2) x += " },
        { In.Values, "exact_product.cuh", "mine = lane.tx == r ? value : mine;", "mine = lane.tx == r + 1 ? value : mine;" },
        { In.NegativeScale, "scores.cuh", "return K_NEGATE ? -product : product;", "return product;" },
        // What is visible.
        { In.LowScores, "forward_exact.cu", "s[r][c] = -infinity();", ";" },
        { In.NoScale, "forward_exact.cu", "s[r][c] = 0; // (with", "; // (with" },
        { In.NotANumberUnseen, "exact_epilogue.cuh", "d[r][n] = 0;", ";" },
        { In.NotANumberUnseen, "backward_query_exact.cu", "if (backward.inverse[r] == 0) clear_row(backward.dq, scale[r], r);", "" },
        { In.Values, "forward_exact.cu", "(forward.visible.keys_of_some(first, M) + N - 1) / N", "forward.visible.keys_of_some(first, M) / N" },
        { In.Values, "forward_exact.cu", "forward.visible.keys_of_all(first) / N", "(forward.visible.keys_of_all(first) + N - 1) / N" },
        { In.Values, "exact_work.cuh", "smaller(keys, smaller(first + rows, queries) + diagonal)", "smaller(keys, first + diagonal)" },
        { In.Values, "exact_work.cuh", "first + rows - 1 - diagonal) : 0", "first - diagonal) : 0" },
        { In.NotANumber, "backward_exact.cu", "query < visible.queries && (!K_CAUSAL", "(!K_CAUSAL" },
        { In.NotANumber, "backward_exact.cu", "x = 0; // dP may be NaN", ";" },
        { In.LowScores, "backward_query_exact.cu", "if (MASKED && !sees(tile, r, c)) dp[r][c] = 0;", "" },
        // Where operands lie, and which head's.
        { In.Values, "forward_exact.cu", "const int key_head = work.head / p.group;", "const int key_head = work.head;" },
        { In.Values, "forward_exact.cu", "tile * N + (chunk - CHUNKS_K) * BAND", "tile * N + (chunk - CHUNKS_K) * BAND + 1" },
        { In.Values, "exact_stream.cuh", "const bool inside = row_exists && column < DIM;", "const bool inside = column < DIM;" },
        { In.Values, "exact_stream.cuh", "const bool inside = row_exists && column < DIM;", "const bool inside = row_exists;" },
        { In.Misaligned, "exact_stream.cuh", "row_exists && column + i < DIM ?", "row_exists ?" },
        { In.Values, "exact_product.cuh", "n / VECTOR * SIDE * VECTOR", "n / VECTOR * SIDE" },
        { In.Values, "exact_product.cuh", "exchange_b = P::exchange(lane.tx)", "exchange_b = P::exchange(lane.ty)" },
        { In.Values, "exact_epilogue.cuh", "if (row >= count) continue;", "" },
        { In.Misaligned, "exact_work.cuh", "if (column + i < dim) stg", "stg" },
        // The stream of chunks.
        { In.Values, "exact_stream.cuh", "cp_async_wait<STAGES - 2>();", "cp_async_wait<STAGES - 1>();" },
        { In.Values, "exact_stream.cuh", "sync_threads(); // the chunk", "// the chunk" },
        { In.Values, "exact_stream.cuh", "(stage == 0 ? STAGES - 1 : stage - 1) * BYTES", "stage * BYTES" },
        { In.Values, "exact_stream.cuh", "sync_warp();\n      product", "product" },
        { In.Values, "exact_stream.cuh", "shared_p, b, lane);\n      sync_warp();", "shared_p, b, lane);" },
        // The backward pass.
        { In.Values, "backward_prepare_exact.cu", "mask < SIDE; mask *= 2", "mask < SIDE / 2; mask *= 2" },
        { In.Values, "backward_exact.cu", "M) rows.write(shared + SHARED_ROWS, thread_id()); // all", "M - 1) rows.write(shared + SHARED_ROWS, thread_id()); // all" },
        { In.Values, "backward_exact.cu", "rows.read(p, work.batch, head + last, (last", "rows.read(p, work.batch, head, (last" },
        { In.Values, "backward_exact.cu", "p[r][c + e], kept) - delta[e]);", "p[r][c + e], kept) + delta[e]);" },
        { In.Values, "backward_exact.cu", "scale[r] = (Real)p.scale, one[r] = backward.kept;", "scale[r] = 1, one[r] = backward.kept;" },
        { In.Values, "backward_query_exact.cu", "dp[r][c] = p[r][c] * (dp[r][c] - delta[r]);", "dp[r][c] = p[r][c] * dp[r][c];" },
        { In.Values, "backward_query_exact.cu", "chunk - PANELS_OF_V);", "0);" },
        // Averaged weights.
        { In.Values, "weights.cu", "visible(query(r), key + e) ? w[r][c + e] : Real(0)", "w[r][c + e]" },
        { In.Values, "weights.cu", "inverse_of_sum(p.heads * ldg((const Real *)p.sum + row), m[r])", "inverse_of_sum(ldg((const Real *)p.sum + row), m[r])" },
        { In.Values, "weights.cu", "if (key + e < p.key_length) stg", "stg" },
        { In.Values, "weights.cu", "head / p.group, p.key_length), key, panel", "head, p.key_length), key, panel" },
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
        switch (what)
        {
            case In.Values:
                Run(Causal, sources);
                break;
            case In.Misaligned:
                Run(Causal, sources, Layout.Odd);
                break;
            case In.EmptyRows:
                Run(Causal with { KeyLength = 70 }, sources);
                break;
            case In.NoScale:
                Run(Causal with { Scale = 0 }, sources);
                break;
            case In.NegativeScale:
                Run(Causal with { Scale = -0.25 }, sources);
                break;
            case In.LowScores:
                Run(Causal with { KeyLength = 150, Causal = CausalMask.None }, sources, shift: 6);
                break;
            case In.Overflow:
                NonFiniteTests.CheckOverflow(ElementType.Float32, sources);
                break;
            case In.MinusInfinity:
                NonFiniteTests.CheckMinusInfinity(ElementType.Float32, sources: sources);
                break;
            case In.NotANumber:
                NonFiniteTests.Check(EmulatedDevices.Ampere, ElementType.Float32, "V", 130, double.NaN, CausalMask.TopLeft, sources);
                NonFiniteTests.Check(EmulatedDevices.Ampere, ElementType.Float32, "V", 415, double.NaN, CausalMask.TopLeft, sources);
                NonFiniteTests.Check(EmulatedDevices.Ampere, ElementType.Float32, "K", 415, double.NaN, CausalMask.TopLeft, sources);
                break;
            default:
                NonFiniteTests.CheckRowsWithoutKeys(ElementType.Float32, "K", false, sources);
                NonFiniteTests.CheckRowsWithoutKeys(ElementType.Float32, "V", false, sources);
                break;
        }
    };

    private static void Run(AttentionProblem problem, KernelSources sources, Layout layout = Layout.Gaps, double shift = 0) =>
        GpuCase.Check(EmulatedDevices.Ampere, problem, Passes.All, layout, layout, sources: sources, shift: shift);
}
