using System.Linq.Expressions;
using TorchFlash.Arguments;
using TorchFlash.Attention;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Scores;
using TorchFlash.Scores;
using static TorchSharp.torch;

namespace TorchFlash;

/// <summary>
/// Block-sparse attention (Dao et al. 2022, FlashAttention, section 3.3): of which blocks of queries x keys pairs exist. The work is
/// proportional to the blocks kept. Used by <see cref="ScorePrograms.blocks"/>; combines with causal and everything else.
/// </summary>
public sealed class BlockMask
{
    private BlockMask(Tensor layout, long block_q, long block_k, ScoreProgram program) =>
        (this.layout, this.block_q, this.block_k, Program) = (layout, block_q, block_k, program);

    /// <summary>Bool [B or 1, H or 1, blocks of queries, blocks of keys]: true = kept, as a whole or in part.</summary>
    public Tensor layout { get; }

    /// <summary>Queries in a block.</summary>
    public long block_q { get; }

    /// <summary>Keys in a block.</summary>
    public long block_k { get; }

    /// <summary>Share of the blocks that are kept.</summary>
    public double density => layout.to(ScalarType.Float64).mean().item<double>();

    internal ScoreProgram Program { get; }

    /// <summary>A mask of a tensor of blocks.</summary>
    /// <param name="blocks">Bool [nq, nk], [H, nq, nk] or [B, H, nq, nk], 1 for B or H where they are shared; it stays the caller's, and its values are read at every call.</param>
    /// <param name="block_q">Queries in a block; ceil(Nq / block_q) blocks are needed.</param>
    /// <param name="block_k">Keys in a block, as many as queries by default.</param>
    /// <exception cref="ArgumentException">An argument does not fit.</exception>
    public static BlockMask of(Tensor blocks, long block_q, long? block_k = null)
    {
        ArgumentChecks.Usable(blocks);
        if (blocks.dtype != ScalarType.Bool)
            ArgumentChecks.Refuse(nameof(blocks), "takes Bool", blocks.dtype);
        if (blocks.dim() is < 2 or > 4)
            ArgumentChecks.Refuse(nameof(blocks), "takes [nq, nk], [H, nq, nk] or [B, H, nq, nk]", ArgumentChecks.Text(TensorMemory.Sizes(blocks)));
        Tensor layout = blocks.view([.. Enumerable.Repeat(1L, 4 - (int)blocks.dim()), .. TensorMemory.Sizes(blocks)]).DetachFromDisposeScope();
        (int rows, int columns) = Sizes(block_q, block_k ?? block_q);
        BoolTensor captured = Captured(layout);
        return new(layout, rows, columns, Terms.Where(t => Block(t, captured, rows, columns)));
    }

    /// <summary>
    /// A mask of a condition: every block is classified without looking at its pairs; those of which some exist keep the condition.
    /// </summary>
    /// <param name="condition">True where a pair may exist; see <see cref="flash.where"/>. Tensors that it captures lie on the CPU, and are read here for the classes.</param>
    /// <param name="queries">Nq.</param>
    /// <param name="keys">Nk.</param>
    /// <param name="block_q">Queries in a block.</param>
    /// <param name="block_k">Keys in a block, as many as queries by default.</param>
    /// <param name="batch">B, which matters where the condition asks for b.</param>
    /// <param name="heads">H, which matters where the condition asks for h.</param>
    /// <exception cref="NotSupportedException">The condition has a part that no score program can have.</exception>
    /// <exception cref="ArgumentException">An index of the condition may leave its tensor, or an argument does not fit.</exception>
    public static BlockMask where(
        Expression<PairFunction> condition, long queries, long keys, long block_q = 128, long? block_k = null, long batch = 1, long heads = 1)
    {
        ScoreProgram program = ScoreProgram.Identity.Where(condition);
        (int rows, int columns) = Sizes(block_q, block_k ?? block_q);
        AttentionProblem problem = new()
        {
            Batch = checked((int)batch),
            Heads = checked((int)heads),
            QueryLength = checked((int)queries),
            KeyLength = checked((int)keys),
            HeadDim = 1,
            ValueDim = 1,
            Scale = 1,
        };
        problem.Validate();
        using TorchSharp.DisposeScope scope = NewDisposeScope();
        Tensor[] tensors = AttentionOperands.Bound(program, empty(0));
        TileAnalysis analysis = new(program, problem, Array.ConvertAll(tensors, TensorMemory.CapturedView));
        GC.KeepAlive(tensors);
        int b = analysis.DependsOnBatch ? problem.Batch : 1, h = analysis.DependsOnHead ? problem.Heads : 1;
        int nq = (problem.QueryLength + rows - 1) / rows, nk = (problem.KeyLength + columns - 1) / columns;
        bool[] whole = new bool[checked(b * h * nq * nk)], part = new bool[whole.Length];
        for (int k = 0; k < whole.Length; k++)
        {
            (int i, int j) = (k / nk % nq * rows, k % nk * columns);
            TileClass found = Classify(analysis, k / nk / nq / h, k / nk / nq % h, i, Math.Min(i + rows, problem.QueryLength), j, Math.Min(j + columns, problem.KeyLength));
            (whole[k], part[k]) = (found == TileClass.All, found == TileClass.Some);
        }
        long[] shape = [b, h, nq, nk];
        Tensor all = tensor(whole, shape).DetachFromDisposeScope(), some = tensor(part, shape).DetachFromDisposeScope();
        (BoolTensor capturedAll, BoolTensor capturedSome) = (Captured(all), Captured(some));
        return new(all.logical_or(some).DetachFromDisposeScope(), rows, columns, ScoreProgram.Build(_ => null, graph =>
        {
            Terms t = new(graph);
            return (Block(t, capturedAll, rows, columns) | Block(t, capturedSome, rows, columns) & new Term(graph, graph.Import(program.Visible))).Node;
        }));
    }

    /// <summary>
    /// Flat butterfly (Dao et al. 2021, "Pixelated Butterfly", the pattern of FlashAttention's block-sparse experiments): block (r, c) where r and
    /// c are equal or differ in one binary digit.
    /// </summary>
    /// <param name="blocks">Blocks along either side.</param>
    /// <param name="block">Queries and keys in a block.</param>
    public static BlockMask butterfly(long blocks, long block = 128) => Pattern(blocks, block, (r, c) => System.Numerics.BitOperations.PopCount((uint)(r ^ c)) <= 1);

    /// <summary>Longformer (Beltagy et al. 2020): neighbours, and blocks that see and are seen by all.</summary>
    /// <param name="blocks">Blocks along either side.</param>
    /// <param name="window">Neighbours on either side of a block.</param>
    /// <param name="globals">The first blocks, so many of which are global.</param>
    /// <param name="block">Queries and keys in a block.</param>
    public static BlockMask local_global(long blocks, long window = 1, long globals = 1, long block = 128) =>
        Pattern(blocks, block, (r, c) => Math.Abs(r - c) <= window || r < globals || c < globals);

    /// <summary>Strided sparse transformer (Child et al. 2019): the last <paramref name="stride"/> blocks, and every <paramref name="stride"/>-th one, in both directions; causal by <see cref="ScorePrograms.causal"/>.</summary>
    /// <param name="blocks">Blocks along either side.</param>
    /// <param name="stride">The stride, in blocks.</param>
    /// <param name="block">Queries and keys in a block.</param>
    public static BlockMask strided(long blocks, long stride, long block = 128)
    {
        ArgumentChecks.Positive(stride);
        return Pattern(blocks, block, (r, c) => Math.Abs(r - c) < stride || (r - c) % stride == 0);
    }

    /// <summary>BigBird (Zaheer et al. 2020): neighbours, global blocks, and random ones in every row.</summary>
    /// <param name="blocks">Blocks along either side.</param>
    /// <param name="window">Neighbours on either side of a block.</param>
    /// <param name="globals">The first blocks, so many of which are global.</param>
    /// <param name="random">Random blocks of a row; they may fall on others.</param>
    /// <param name="seed">Seed of these.</param>
    /// <param name="block">Queries and keys in a block.</param>
    public static BlockMask big_bird(long blocks, long window = 1, long globals = 1, long random = 3, int seed = 0, long block = 128)
    {
        ArgumentChecks.Positive(blocks);
        Random numbers = new(seed);
        HashSet<(int, int)> chosen = [.. from r in Enumerable.Range(0, (int)blocks) from _ in Enumerable.Range(0, (int)random) select (r, numbers.Next((int)blocks))];
        return Pattern(blocks, block, (r, c) => Math.Abs(r - c) <= window || r < globals || c < globals || chosen.Contains((r, c)));
    }

    private static BlockMask Pattern(long blocks, long block, Func<int, int, bool> keeps)
    {
        ArgumentChecks.Positive(blocks);
        int count = checked((int)blocks);
        bool[] kept = new bool[checked(count * count)];
        for (int k = 0; k < kept.Length; k++)
            kept[k] = keeps(k / count, k % count);
        return of(tensor(kept, [count, count]).DetachFromDisposeScope(), block);
    }

    private static TileClass Classify(TileAnalysis analysis, int b, int h, int i0, int i1, int j0, int j1)
    {
        TileClass found = analysis.Classify(b, h, i0, i1, j0, j1);
        (int first, int last) = (j0 - i1 + 1, j1 - 1 - i0); // Diagonals of the block.
        return last < analysis.FirstDiagonal || first > analysis.LastDiagonal ? TileClass.None
            : found == TileClass.All && (first < analysis.FirstDiagonal || last > analysis.LastDiagonal) ? TileClass.Some
            : found;
    }

    private static (int, int) Sizes(long block_q, long block_k)
    {
        ArgumentChecks.Positive(block_q);
        ArgumentChecks.Positive(block_k);
        return (checked((int)block_q), checked((int)block_k));
    }

    private static BoolTensor Captured(Tensor layout) => new(layout, [.. TensorMemory.Sizes(layout).Select(size => checked((int)size))]) { Name = nameof(layout) };

    private static Term Block(Terms t, BoolTensor layout, int rows, int columns) => t.Load(
        layout, layout.Shape[0] == 1 ? t.Constant(0) : t.B, layout.Shape[1] == 1 ? t.Constant(0) : t.H, t.I / t.Constant(rows), t.J / t.Constant(columns));
}
