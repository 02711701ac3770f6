namespace AttentionBench.IoModel;

/// <summary>One head of attention without a mask, as far as the traffic of its passes depends on it.</summary>
/// <param name="Length">N, queries and keys.</param>
/// <param name="HeadDim">d, of queries, keys and values.</param>
/// <param name="ElementSize">e, bytes of an element.</param>
internal readonly record struct HeadShape(int Length, int HeadDim, int ElementSize)
{
    /// <summary>Bytes of Q, K, V or O.</summary>
    public double Operand => (double)Length * HeadDim * ElementSize;

    /// <summary>Bytes of S or P.</summary>
    public double Scores => (double)Length * Length * ElementSize;

    /// <summary>Floating point operations of the products: two forward, five backward (S once more), 2 N² d each.</summary>
    public double Flops(bool isBackward) => (isBackward ? 10.0 : 4.0) * Length * Length * HeadDim;
}

/// <summary>The blocking of the CPU engine's loops.</summary>
/// <param name="Queries">Br, rows of a query tile.</param>
/// <param name="Keys">Bc, rows of a key-value tile.</param>
/// <param name="Panel">W, columns of the register tile and of the panels of a transposed operand.</param>
/// <param name="VectorBytes">Bytes of a register.</param>
internal readonly record struct TileShape(int Queries, int Keys, int Panel, int VectorBytes)
{
    /// <summary>Rows of the register tile.</summary>
    public const int Rows = 6;

    /// <summary>Rows of S that the backward pass computes before the strip over them.</summary>
    public const int BlockRows = 8 * Rows;

    /// <summary>The register tile of the engine for a vector width: four registers wide where there are 32, else two.</summary>
    public static TileShape Of(int queries, int keys, int vectorBits, int elementSize)
    {
        int bytes = vectorBits == 0 ? elementSize : vectorBits / 8;
        return new(queries, keys, (vectorBits is 512 or 0 ? 4 : 2) * bytes / elementSize, bytes);
    }

    public static int Ceiling(int a, int b) => (a + b - 1) / b;
}
