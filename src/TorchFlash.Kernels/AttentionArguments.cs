namespace TorchFlash.Kernels;

/// <summary>Operands of the forward pass.</summary>
public readonly record struct ForwardArguments
{
    /// <summary>Q, [B, H, Nq, d].</summary>
    public required TensorView Query { get; init; }

    /// <summary>K, [B, H, Nk, d].</summary>
    public required TensorView Key { get; init; }

    /// <summary>V, [B, H, Nk, d_v].</summary>
    public required TensorView Value { get; init; }

    /// <summary>O, [B, H, Nq, d_v]: written.</summary>
    public required TensorView Output { get; init; }

    /// <summary>Row statistics: written.</summary>
    public required RowStatistics Statistics { get; init; }
}

/// <summary>Operands of the backward pass; O and the statistics are those that the forward pass wrote.</summary>
public readonly record struct BackwardArguments
{
    /// <summary>Q, [B, H, Nq, d].</summary>
    public required TensorView Query { get; init; }

    /// <summary>K, [B, H, Nk, d].</summary>
    public required TensorView Key { get; init; }

    /// <summary>V, [B, H, Nk, d_v].</summary>
    public required TensorView Value { get; init; }

    /// <summary>O, [B, H, Nq, d_v].</summary>
    public required TensorView Output { get; init; }

    /// <summary>dO, [B, H, Nq, d_v].</summary>
    public required TensorView OutputGradient { get; init; }

    /// <summary>Row statistics of the forward pass.</summary>
    public required RowStatistics Statistics { get; init; }

    /// <summary>dQ, [B, H, Nq, d]: written (not added to).</summary>
    public required TensorView QueryGradient { get; init; }

    /// <summary>dK, [B, H, Nk, d]: written (not added to).</summary>
    public required TensorView KeyGradient { get; init; }

    /// <summary>dV, [B, H, Nk, d_v]: written (not added to).</summary>
    public required TensorView ValueGradient { get; init; }
}

/// <summary>Operands of the attention weights averaged over heads.</summary>
public readonly record struct WeightsArguments
{
    /// <summary>Q, [B, H, Nq, d].</summary>
    public required TensorView Query { get; init; }

    /// <summary>K, [B, H, Nk, d].</summary>
    public required TensorView Key { get; init; }

    /// <summary>Row statistics of the forward pass.</summary>
    public required RowStatistics Statistics { get; init; }

    /// <summary>1/H sum over heads of P, [B, Nq, Nk] (the head stride is not used): written.</summary>
    public required TensorView Weights { get; init; }
}

/// <summary>
/// The softmax statistics of every row of S, two contiguous [B, H, Nq] arrays of the compute type (float for Float32,
/// double for Float64). m is kept before scaling, so that the backward pass finds the same exponents again whatever their size:
/// m_i = max_j sign(scale) q_i·k_j and l_i = sum_j exp(|scale| (sign(scale) q_i·k_j - m_i)) over the keys that query i attends to.
/// A row without keys has m = -inf, l = 0; one whose scores are all -inf has O = NaN and no meaningful statistics. The log-sum-exp
/// of a row is |scale| m + ln(l). (With an additive mask m will have to be a maximum of scaled scores.)
/// </summary>
/// <param name="Max">Address of m.</param>
/// <param name="Sum">Address of l.</param>
public readonly record struct RowStatistics(nint Max, nint Sum);

/// <summary>How a pass is run; none of it changes a result.</summary>
public readonly record struct ExecutionOptions
{
    /// <summary>CPU threads to use, the caller's among them; 0 = one for every processor.</summary>
    public int Threads { get; init; }
}
