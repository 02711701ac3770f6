namespace TorchFlash.Cuda.Tests;

/// <summary>
/// The backward pass of 16-bit types on the emulated sm_90: delta, the Hopper kernel for dK, dV and the sums of dQ, and dQ, against the
/// double-precision reference. O, m and l are those of the reference.
/// </summary>
public class HopperBackwardTests
{
    internal static readonly AttentionProblem Plain = new()
    {
        Batch = 1,
        Heads = 1,
        QueryLength = 97,
        KeyLength = 113,
        HeadDim = 64,
        ValueDim = 64,
        Scale = 0.125,
        ElementType = ElementType.BFloat16,
    };

    /// <summary>
    /// d, d_v: own keys with 128 and with 64 queries a tile, own columns in equal and unequal shares (of none, too), panels of 64, 32 and 16
    /// columns, columns that exist only for the products.
    /// </summary>
    public static TheoryData<ElementType, int, int> HeadDims
    {
        get
        {
            var data = new TheoryData<ElementType, int, int>();
            foreach ((int d, int dv) in new[] { (8, 8), (16, 16), (32, 32), (40, 40), (64, 64), (80, 80), (96, 96), (128, 128), (160, 160), (192, 128), (256, 256), (64, 128), (128, 64), (256, 64), (8, 256) })
                data.Add(ElementType.BFloat16, d, dv);
            foreach ((int d, int dv) in new[] { (64, 64), (128, 128), (136, 136) })
                data.Add(ElementType.Float16, d, dv);
            return data;
        }
    }

    [EmulatedTheory]
    [MemberData(nameof(HeadDims))]
    public void AnyHeadDim(ElementType type, int d, int dv)
    {
        AttentionProblem problem = Plain with { HeadDim = d, ValueDim = dv, Scale = AttentionProblem.DefaultScale(d), ElementType = type };
        Check(problem with { QueryLength = 150, KeyLength = 203, Causal = CausalMask.BottomRight }, seed: d);
    }

    /// <summary>dQ from a kernel of its own; this one must not touch its sums.</summary>
    [EmulatedTheory]
    [InlineData(ElementType.BFloat16, 64)]
    [InlineData(ElementType.BFloat16, 128)]
    [InlineData(ElementType.Float16, 64)]
    [InlineData(ElementType.BFloat16, 192)]
    public void Deterministic(ElementType type, int d) =>
        Check(Plain with { HeadDim = d, ValueDim = d, Scale = AttentionProblem.DefaultScale(d), ElementType = type, Causal = CausalMask.TopLeft }, deterministic: true);

    [EmulatedTheory]
    [InlineData(1, 1)]
    [InlineData(64, 64)]
    [InlineData(63, 65)]
    [InlineData(128, 129)]
    [InlineData(33, 300)]
    [InlineData(257, 70)]
    public void AnyLength(int nq, int nk)
    {
        foreach (CausalMask mask in Enum.GetValues<CausalMask>())
            foreach (int d in new[] { 64, 128 })
                Check(Plain with { QueryLength = nq, KeyLength = nk, HeadDim = d, ValueDim = d, Causal = mask }, seed: nq + nk);
    }

    /// <summary>Many tiles of one block: every stage of the rings and both parities, under several schedules.</summary>
    [EmulatedTheory]
    [InlineData(64, 0)]
    [InlineData(64, 1)]
    [InlineData(128, 2)]
    [InlineData(128, 3)]
    [InlineData(256, 4)]
    public void ManyTiles(int d, int seed)
    {
        EmulatedGpu.Set("seed", seed);
        Check(Plain with { QueryLength = 515, KeyLength = 130, HeadDim = d, ValueDim = d }, seed: seed);
        EmulatedGpu.Set("seed", 0);
    }

    [EmulatedTheory]
    [InlineData(4, 2, 64)]
    [InlineData(3, 1, 128)]
    [InlineData(2, 1, 160)]
    public void GroupedHeads(int heads, int keyHeads, int d)
    {
        AttentionProblem problem = Plain with { Batch = 2, Heads = heads, KeyHeads = keyHeads, HeadDim = d, ValueDim = d };
        Check(problem);
        Check(problem with { Causal = CausalMask.TopLeft, KeyLength = 40 });
    }

    [EmulatedTheory]
    [InlineData(Layout.Interleaved)]
    [InlineData(Layout.Gaps)]
    public void AnyLayout(Layout layout)
    {
        Check(Plain with { Batch = 2, Heads = 2, HeadDim = 24, ValueDim = 40, Causal = CausalMask.BottomRight }, layout);
        Check(Plain with { Batch = 2, Heads = 2, HeadDim = 160, ValueDim = 96, Causal = CausalMask.BottomRight }, layout);
    }

    /// <summary>Negative and no scale, and scores of several hundred.</summary>
    [EmulatedTheory]
    [InlineData(-0.3, 1)]
    [InlineData(0, 1)]
    [InlineData(1, 4)]
    public void AnyScale(double scale, double amplitude)
    {
        AttentionProblem problem = Plain with { HeadDim = 32, ValueDim = 32, Scale = scale };
        Check(problem, amplitude: amplitude);
        Check(problem with { Causal = CausalMask.TopLeft }, amplitude: amplitude);
    }

    /// <summary>All scores far below 0: what is masked has P = exp2(0 - log_sum) beyond all numbers.</summary>
    [EmulatedTheory]
    [InlineData(64)]
    [InlineData(128)]
    public void ScoresFarBelowZero(int d)
    {
        AttentionProblem problem = Plain with { HeadDim = d, ValueDim = d, Scale = 0.25, QueryLength = 70, KeyLength = 150 };
        Check(problem, shift: 3);
        Check(problem with { Causal = CausalMask.TopLeft }, shift: 3);
    }

    /// <summary>Queries without keys have no part in anything; keys that no query sees have gradients of 0.</summary>
    [EmulatedFact]
    public void RowsWithoutKeysAndKeysWithoutRows()
    {
        Check(Plain with { QueryLength = 200, KeyLength = 40, Causal = CausalMask.BottomRight });
        Check(Plain with { QueryLength = 40, KeyLength = 300, Causal = CausalMask.TopLeft });
    }

    internal static void Check(AttentionProblem problem, Layout layout = Layout.Contiguous, bool deterministic = false, int seed = 1, double amplitude = 1,
        double shift = 0, Kernels.Cuda.KernelSources? sources = null) =>
        GpuCase.Check(EmulatedDevices.Hopper, problem, Passes.Backward, layout, layout, deterministic, sources: sources, seed: seed, amplitude: amplitude, shift: shift);
}
