using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels;

/// <summary>
/// What is to be computed, apart from where it lies: O = softmax(scale Q Kᵀ + mask) V for every batch entry and head.
/// </summary>
public readonly record struct AttentionProblem
{
    /// <summary>Longest sequence; row numbers and diagonals of tiles stay far from the ends of int.</summary>
    public const int MaxLength = 1 << 29;

    /// <summary>Largest head dimension.</summary>
    public const int MaxHeadDim = 1 << 20;

    /// <summary>Batch size B, 0 or more.</summary>
    public required int Batch { get; init; }

    /// <summary>Number of heads H, 0 or more.</summary>
    public required int Heads { get; init; }

    /// <summary>
    /// Number of heads of key and value, a divisor of <see cref="Heads"/>: query head h attends to key head h / (H / key heads)
    /// (grouped-query attention; 1: multi-query attention). 0, the default: as many as there are query heads.
    /// </summary>
    public int KeyHeads { get; init; }

    /// <summary>Number of queries Nq, 0 to <see cref="MaxLength"/>.</summary>
    public required int QueryLength { get; init; }

    /// <summary>Number of keys and values Nk, 0 to <see cref="MaxLength"/>. Without keys the output is 0.</summary>
    public required int KeyLength { get; init; }

    /// <summary>Head dimension d of query and key, 1 to <see cref="MaxHeadDim"/>.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Head dimension d_v of value and output, 1 to <see cref="MaxHeadDim"/>.</summary>
    public required int ValueDim { get; init; }

    /// <summary>Factor of Q Kᵀ before the softmax; <see cref="DefaultScale"/> in most models.</summary>
    public required double Scale { get; init; }

    /// <summary>Element type of every operand.</summary>
    public ElementType ElementType { get; init; }

    /// <summary>Which keys a query may attend to by position.</summary>
    public CausalMask Causal { get; init; }

    /// <summary>
    /// What is done to the scores, and which pairs exist besides what <see cref="Causal"/> says; null: nothing, all. The CPU engine refuses a program
    /// whose indices may leave their tensors; a GPU's memory cannot be looked into, and there that is the caller's business.
    /// </summary>
    public ScoreProgram? Score { get; init; }

    /// <summary>Whether every head has an attention sink: one more column of S, the same in every row, whose value is 0.</summary>
    public bool HasSinks { get; init; }

    /// <summary>Probability with which an element of P is dropped, 0 to 1; the others are divided by what is left of 1.</summary>
    public double Dropout { get; init; }

    /// <summary>Seed of the dropout: which elements are dropped depends on it and on their batch entry, head, query and key alone.</summary>
    public ulong DropoutSeed { get; init; }

    /// <summary>Whether gradients of captured tensors will be asked for, which not every engine has.</summary>
    public bool HasScoreGradients { get; init; }

    /// <summary>Whether weights of single heads will be asked for, which not every engine has.</summary>
    public bool HasHeadWeights { get; init; }

    /// <summary>1 / sqrt(d), the scale of "Attention Is All You Need", section 3.2.1.</summary>
    public static double DefaultScale(int headDim) => 1 / Math.Sqrt(headDim);

    /// <summary>Number of heads of key and value, never "as many as".</summary>
    internal int KeyHeadCount => KeyHeads == 0 ? Heads : KeyHeads;

    /// <summary>Query heads for each head of key and value; 1 also where there is no head.</summary>
    internal int Group => Heads == 0 ? 1 : Heads / KeyHeadCount;

    /// <summary>
    /// Last key that query 0 may attend to; query i attends to keys 0 .. i + <see cref="DiagonalOffset"/>.
    /// <see cref="int.MaxValue"/> / 2 where nothing is masked.
    /// </summary>
    internal int DiagonalOffset => Causal switch
    {
        CausalMask.TopLeft => 0,
        CausalMask.BottomRight => KeyLength - QueryLength,
        _ => int.MaxValue / 2,
    };

    /// <summary>Refuses sizes that mean nothing.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A size or a probability is out of its range, or the scale is not finite.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfNegative(Batch);
        ArgumentOutOfRangeException.ThrowIfNegative(Heads);
        ArgumentOutOfRangeException.ThrowIfNegative(QueryLength);
        ArgumentOutOfRangeException.ThrowIfNegative(KeyLength);
        ArgumentOutOfRangeException.ThrowIfLessThan(HeadDim, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(ValueDim, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(QueryLength, MaxLength);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(KeyLength, MaxLength);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(HeadDim, MaxHeadDim);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ValueDim, MaxHeadDim);
        ArgumentOutOfRangeException.ThrowIfNegative(KeyHeads);
        if (KeyHeads > Heads || KeyHeads > 0 && Heads % KeyHeads != 0)
        {
            throw new ArgumentOutOfRangeException(nameof(KeyHeads), KeyHeads,
                $"The number of heads of key and value must divide that of the query, {Heads}.");
        }
        if ((long)Batch * Heads > int.MaxValue)
            throw new ArgumentOutOfRangeException(nameof(Heads), Heads, $"Batch x heads must be at most {int.MaxValue}, but the batch size is {Batch}.");
        if ((Int128)Batch * Heads * Math.Max(QueryLength, KeyLength) * Math.Max(HeadDim, ValueDim) > long.MaxValue / sizeof(double))
        {
            throw new ArgumentOutOfRangeException(QueryLength > KeyLength ? nameof(QueryLength) : nameof(KeyLength), Math.Max(QueryLength, KeyLength),
                "An operand would have more elements than there are addresses.");
        }
        if (!Enum.IsDefined(ElementType))
            throw new ArgumentOutOfRangeException(nameof(ElementType), ElementType, "Unknown element type.");
        // log2(e) times it goes into an exponent, so that must be finite, too.
        double largestScale = (ElementType == ElementType.Float64 ? double.MaxValue : float.MaxValue) * 0.69;
        if (!(Math.Abs(Scale) <= largestScale))
            throw new ArgumentOutOfRangeException(nameof(Scale), Scale, $"The scale must be a finite number, of {ElementType} at most {largestScale:G2}.");
        if (!Enum.IsDefined(Causal))
            throw new ArgumentOutOfRangeException(nameof(Causal), Causal, "Unknown causal mask.");
        if (!(Dropout is >= 0 and <= 1))
            throw new ArgumentOutOfRangeException(nameof(Dropout), Dropout, "The dropout must be a probability, 0 to 1.");
    }
}

/// <summary>Which keys a query may attend to by position.</summary>
public enum CausalMask
{
    /// <summary>Every query attends to every key.</summary>
    None,

    /// <summary>Query i attends to keys j &lt;= i: the diagonal starts in the top left corner of S, as in libtorch.</summary>
    TopLeft,

    /// <summary>
    /// Query i attends to keys j &lt;= i + KeyLength - QueryLength: the diagonal ends in the bottom right corner of S,
    /// as in FlashAttention 2.1 and later (decoding with a key-value cache).
    /// </summary>
    BottomRight,
}
