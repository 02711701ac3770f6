using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>
/// The sizes of an attention whose operands have any number of leading dimensions, and the way between those and the four
/// dimensions [B, H, N, d] that everything below works on.
/// </summary>
/// <param name="Leading">The leading dimensions of query, key and value, broadcast together; with grouped heads those of query.</param>
/// <param name="KeyHeads">Heads of key and value; null: as many as query has.</param>
/// <param name="QueryLength">Nq.</param>
/// <param name="KeyLength">Nk.</param>
/// <param name="HeadDim">d of query and key.</param>
/// <param name="ValueDim">d_v of value and output.</param>
internal sealed record AttentionShape(long[] Leading, long? KeyHeads, long QueryLength, long KeyLength, long HeadDim, long ValueDim)
{
    /// <summary>Key or value as [B, key heads, Nk, *]: a view where strides allow one, which is always so for up to four dimensions.</summary>
    public Tensor KeyToFourDimensions(Tensor operand) =>
        KeyHeads is { } heads ? (this with { Leading = [.. Leading[..^1], heads] }).ToFourDimensions(operand) : ToFourDimensions(operand);

    /// <summary>A view where strides allow one, which is always so for up to four dimensions.</summary>
    public Tensor ToFourDimensions(Tensor operand, bool isMask = false)
    {
        long[] shape = operand.shape;
        if (isMask && shape.Length <= 3)
            return operand; // Broadcasts from the right as it is.
        long[] full = [.. Leading, shape[^2], shape[^1]];
        if (!isMask && !full.SequenceEqual(shape))
            operand = operand.expand(full);
        switch (Leading.Length)
        {
            case 0:
                return operand.unsqueeze(0).unsqueeze(0);
            case 1:
                return operand.unsqueeze(0);
            case 2:
                return operand;
            default:
                if (isMask)
                    operand = operand.expand(full);
                return operand.reshape(Leading[..^1].Aggregate(1L, (a, b) => a * b), Leading[^1], shape[^2], shape[^1]);
        }
    }

    /// <summary>[B, H, Nq, d_v] to (..., Nq, d_v).</summary>
    public Tensor FromFourDimensions(Tensor output) =>
        Leading.Length == 2 ? output : output.reshape([.. Leading, QueryLength, ValueDim]);
}
