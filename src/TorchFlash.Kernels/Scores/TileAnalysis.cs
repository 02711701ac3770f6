namespace TorchFlash.Kernels.Scores;

/// <summary>How many of the pairs of a tile exist.</summary>
internal enum TileClass
{
    None,
    Some,
    All,
}

/// <summary>
/// A program on a problem of known sizes with known tensors: which pairs of a tile exist, by interval arithmetic, without looking at a
/// single pair. Safe for many threads.
/// </summary>
internal sealed class TileAnalysis
{
    /// <param name="program">The program.</param>
    /// <param name="problem">Its sizes.</param>
    /// <param name="tensors">The program's tensors; they are read here and not kept.</param>
    /// <exception cref="ArgumentOutOfRangeException">An index may leave its tensor, an integer int, a divisor may be 0.</exception>
    public TileAnalysis(ScoreProgram program, in AttentionProblem problem, ReadOnlySpan<CapturedView> tensors) => throw new NotImplementedException();

    /// <summary>j - i of the pairs that exist lies between these (the conditions of that form, which are not part of <see cref="Where"/>).</summary>
    public int FirstDiagonal { get; }

    /// <summary>See <see cref="FirstDiagonal"/>; int.MaxValue / 2 where there is no bound.</summary>
    public int LastDiagonal { get; }

    /// <summary>What is left of the conditions; true where nothing is.</summary>
    public Node Where { get; } = null!;

    /// <summary>Whether <see cref="Where"/> differs from one batch entry or head to the next.</summary>
    public bool DependsOnBatch { get; }

    /// <summary>See <see cref="DependsOnBatch"/>.</summary>
    public bool DependsOnHead { get; }

    /// <summary>Of the pairs of queries i0 .. i1 - 1 and keys j0 .. j1 - 1 how many exist as far as <see cref="Where"/> says: never wrong, but perhaps Some without need.</summary>
    public TileClass Classify(int b, int h, int i0, int i1, int j0, int j1) => throw new NotImplementedException();
}
