namespace TorchFlash.Kernels;

/// <summary>
/// One operand [B, H, N, d] in somebody else's memory: element (b, h, n, x) lies at
/// <c>Data + b * BatchStride + h * HeadStride + n * RowStride + x</c> (strides in elements; unit stride along d).
/// Inputs may have any strides, 0 and negative ones included; the elements of an output must not overlap.
/// </summary>
/// <param name="Data">Address of element (0, 0, 0, 0); may be null when the operand has no element.</param>
/// <param name="BatchStride">Elements from one batch entry to the next.</param>
/// <param name="HeadStride">Elements from one head to the next.</param>
/// <param name="RowStride">Elements from one row (query or key) to the next.</param>
public readonly record struct TensorView(nint Data, long BatchStride, long HeadStride, long RowStride);

/// <summary>
/// A tensor that the score program captured, in somebody else's memory: element (a, b, ...) lies at Data + a * Stride0 + b * Stride1 + ...
/// Any strides. Real numbers are of the compute type (double for Float64, else float), integers of 64 bits, truth values bytes of 0 or 1.
/// </summary>
/// <param name="Data">Address of its first element; may be null when it has none.</param>
/// <param name="Stride0">Elements from one index of the first dimension to the next.</param>
/// <param name="Stride1">The same of the second dimension.</param>
/// <param name="Stride2">The same of the third dimension.</param>
/// <param name="Stride3">The same of the fourth dimension.</param>
public readonly record struct CapturedView(nint Data, long Stride0, long Stride1 = 0, long Stride2 = 0, long Stride3 = 0);

/// <summary>Operands of the forward pass.</summary>
public readonly record struct ForwardArguments
{
    /// <summary>Q, [B, H, Nq, d].</summary>
    public required TensorView Query { get; init; }

    /// <summary>K, [B, key heads, Nk, d].</summary>
    public required TensorView Key { get; init; }

    /// <summary>V, [B, key heads, Nk, d_v].</summary>
    public required TensorView Value { get; init; }

    /// <summary>O, [B, H, Nq, d_v]: written.</summary>
    public required TensorView Output { get; init; }

    /// <summary>Row statistics: written.</summary>
    public required RowStatistics Statistics { get; init; }

    /// <summary>The tensors of <see cref="AttentionProblem.Score"/>, in its order; may be null where it has none.</summary>
    public CapturedView[]? ScoreTensors { get; init; }

    /// <summary>Address of the score of every head's sink, [H] of the compute type; see <see cref="AttentionProblem.HasSinks"/>.</summary>
    public nint Sinks { get; init; }
}

/// <summary>Operands of the backward pass; O and the statistics are those that the forward pass wrote.</summary>
public readonly record struct BackwardArguments
{
    /// <summary>Q, [B, H, Nq, d].</summary>
    public required TensorView Query { get; init; }

    /// <summary>K, [B, key heads, Nk, d].</summary>
    public required TensorView Key { get; init; }

    /// <summary>V, [B, key heads, Nk, d_v].</summary>
    public required TensorView Value { get; init; }

    /// <summary>O, [B, H, Nq, d_v].</summary>
    public required TensorView Output { get; init; }

    /// <summary>dO, [B, H, Nq, d_v].</summary>
    public required TensorView OutputGradient { get; init; }

    /// <summary>Row statistics of the forward pass.</summary>
    public required RowStatistics Statistics { get; init; }

    /// <summary>dQ, [B, H, Nq, d]: written (not added to).</summary>
    public required TensorView QueryGradient { get; init; }

    /// <summary>dK, [B, key heads, Nk, d], the sum over the query heads that share a head of K: written (not added to).</summary>
    public required TensorView KeyGradient { get; init; }

    /// <summary>dV, [B, key heads, Nk, d_v], the sum over the query heads that share a head of V: written (not added to).</summary>
    public required TensorView ValueGradient { get; init; }

    /// <summary>The tensors of <see cref="AttentionProblem.Score"/>, in its order; may be null where it has none.</summary>
    public CapturedView[]? ScoreTensors { get; init; }

    /// <summary>Address of the score of every head's sink, [H] of the compute type; see <see cref="AttentionProblem.HasSinks"/>.</summary>
    public nint Sinks { get; init; }

    /// <summary>
    /// Addresses of the gradients of <see cref="ScoreTensors"/>, each contiguous in the tensor's own shape and of the compute type: written (not added
    /// to). 0 for those that are not wanted; may be null where none is.
    /// </summary>
    public nint[]? ScoreTensorGradients { get; init; }

    /// <summary>Address of the gradient of the sinks, [H] of the compute type: written; 0 where it is not wanted.</summary>
    public nint SinkGradient { get; init; }

    /// <summary>Address of the gradient of the rows' log-sum-exp, [B, H, Nq] contiguous of the compute type; 0 where there is none.</summary>
    public nint LogSumExpGradient { get; init; }

    /// <summary>
    /// Address of <see cref="IAttentionEngine.BackwardWorkspace"/> bytes for the pass's own use, aligned to 256 bytes; written. May be
    /// null where that is 0.
    /// </summary>
    public nint Workspace { get; init; }
}

/// <summary>Operands of the attention weights.</summary>
public readonly record struct WeightsArguments
{
    /// <summary>Q, [B, H, Nq, d].</summary>
    public required TensorView Query { get; init; }

    /// <summary>K, [B, key heads, Nk, d].</summary>
    public required TensorView Key { get; init; }

    /// <summary>Row statistics of the forward pass.</summary>
    public required RowStatistics Statistics { get; init; }

    /// <summary>1/H of the sum over heads of P after dropout, [B, Nq, Nk] (the head stride is not used), or with <see cref="PerHead"/> P itself, [B, H, Nq, Nk]: written.</summary>
    public required TensorView Weights { get; init; }

    /// <summary>Whether the weights of every head are wanted instead of their average.</summary>
    public bool PerHead { get; init; }

    /// <summary>The tensors of <see cref="AttentionProblem.Score"/>, in its order; may be null where it has none.</summary>
    public CapturedView[]? ScoreTensors { get; init; }
}

/// <summary>
/// The softmax statistics of every row of S, two contiguous [B, H, Nq] arrays of the compute type (double for Float64,
/// else float). m is kept before scaling, so that the backward pass finds the same exponents again whatever their size:
/// m_i = max_j sign(scale) q_i·k_j and l_i = sum_j exp(|scale| (sign(scale) q_i·k_j - m_i)) over the keys that query i attends to. With a
/// program that modifies scores m and l are of the modified ones, with 1 for the scale. A sink counts as one more key.
/// A row that attends to nothing, for want of keys or because every score is -inf, has m = -inf, l = 0 and O = 0. The log-sum-exp
/// of a row is |scale| m + ln(l). The CUDA engine's m of 16-bit types may lie below the maximum, with an l to match:
/// exp(|scale| (max - m)) is 2⁸ at most.
/// </summary>
/// <param name="Max">Address of m.</param>
/// <param name="Sum">Address of l.</param>
public readonly record struct RowStatistics(nint Max, nint Sum);

/// <summary>How a pass is run; none of it changes a result, but for <see cref="Deterministic"/> in its last bits.</summary>
public readonly record struct ExecutionOptions
{
    /// <summary>
    /// CPU threads to use at most, the caller's among them; 0 = one for every processor. A small problem takes fewer. Up to as many as libtorch's own
    /// (OpenMP, Linux) they are those, beyond that threads of the engine.
    /// </summary>
    public int Threads { get; init; }

    /// <summary>CUDA stream (CUstream) to run on; 0 = the default one. The CPU engine does not look at it.</summary>
    public nint Stream { get; init; }

    /// <summary>
    /// Whether equal calls must give equal bits. The CPU engine always does so; the CUDA engine sums dQ of 16-bit types in the order in
    /// which tiles happen to end unless this is set.
    /// </summary>
    public bool Deterministic { get; init; }
}

/// <summary>Which passes <see cref="IAttentionEngine.Precompile"/> prepares for.</summary>
public readonly record struct PrecompileOptions
{
    /// <summary>Leaves the backward pass out.</summary>
    public bool ForwardOnly { get; init; }

    /// <summary>The backward pass that <see cref="ExecutionOptions.Deterministic"/> asks for.</summary>
    public bool Deterministic { get; init; }

    /// <summary>The averaged weights besides.</summary>
    public bool Weights { get; init; }

    /// <summary>Operands whose rows are not aligned to 16 bytes.</summary>
    public bool Misaligned { get; init; }
}
