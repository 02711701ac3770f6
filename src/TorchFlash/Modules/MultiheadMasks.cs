using TorchFlash.Arguments;
using TorchFlash.Attention;
using TorchFlash.Kernels;
using static TorchSharp.torch;

namespace TorchFlash.Modules;

/// <summary>
/// The masks of multi-head attention over N sequences, H heads, L queries and S keys. In the module's arguments true means "may not
/// attend", in an <see cref="AttentionCall"/> "may".
/// </summary>
internal readonly record struct MultiheadMasks(Tensor? key_padding_mask, Tensor? attn_mask, bool IsCausal, long Batch, long Heads, long QueryLength, long KeyLength)
{
    /// <summary>Refuses masks that do not fit, in the module's terms.</summary>
    public void Check(Tensor query)
    {
        if (key_padding_mask is not null)
        {
            ArgumentChecks.Usable(key_padding_mask);
            if (key_padding_mask.dtype is not (ScalarType.Bool or ScalarType.Byte))
                ArgumentChecks.Refuse(nameof(key_padding_mask), "takes Bool or Byte (true = leave out)", key_padding_mask.dtype);
            if (!TensorMemory.Sizes(key_padding_mask).SequenceEqual([Batch, KeyLength]))
                ArgumentChecks.Refuse(nameof(key_padding_mask), $"takes (N, S) = [{Batch}, {KeyLength}]", ArgumentChecks.Text(key_padding_mask.shape));
            ArgumentChecks.SameDevice(key_padding_mask, query, nameof(key_padding_mask));
        }
        if (attn_mask is not null)
        {
            ArgumentChecks.Usable(attn_mask);
            if (attn_mask.dtype is not (ScalarType.Bool or ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Float32 or ScalarType.Float64))
                ArgumentChecks.Refuse(nameof(attn_mask), "takes Bool (true = may not attend) or floating point (added to the scores)", attn_mask.dtype);
            long[] shape = TensorMemory.Sizes(attn_mask), ofEveryHead = [Batch * Heads, QueryLength, KeyLength];
            if (!shape.SequenceEqual([QueryLength, KeyLength]) && !shape.SequenceEqual(ofEveryHead))
                ArgumentChecks.Refuse(
                    nameof(attn_mask), $"takes (L, S) = [{QueryLength}, {KeyLength}] or (N * H, L, S) = {ArgumentChecks.Text(ofEveryHead)}", ArgumentChecks.Text(shape));
            ArgumentChecks.SameDevice(attn_mask, query, nameof(attn_mask));
        }
    }

    /// <summary>The attention of [N, H, L, d] operands under these masks; keys beyond S were appended, and may always be attended to.</summary>
    public AttentionCall Apply(Tensor query, Tensor key, Tensor value, double dropout)
    {
        Tensor? allowed = null, bias = null;
        long appended = key.size(2) - KeyLength;
        if (key_padding_mask is not null)
            Restrict(key_padding_mask.eq(0).view(Batch, 1, 1, KeyLength));
        if (attn_mask is not null)
        {
            Tensor mask = attn_mask.dim() == 3 ? attn_mask.reshape(Batch, Heads, QueryLength, KeyLength) : attn_mask;
            if (mask.dtype == ScalarType.Bool)
                Restrict(mask.logical_not());
            else
                bias = Extend(mask.to(query.dtype));
        }
        if (IsCausal && appended > 0)
            Restrict(ComposedAttention.CausalMatrix(QueryLength, KeyLength, 0, query.device));
        return new AttentionCall(query, key, value, IsCausal && appended == 0 ? CausalMask.TopLeft : CausalMask.None, mask: allowed, bias: bias, dropout: dropout);

        void Restrict(Tensor mask)
        {
            mask = Extend(mask);
            allowed = allowed is null ? mask : allowed.logical_and(mask);
        }

        Tensor Extend(Tensor mask)
        {
            long[] shape = [.. TensorMemory.Sizes(mask)[..^1], appended];
            return appended == 0 ? mask
                : cat([mask, mask.dtype == ScalarType.Bool ? ones(shape, mask.dtype, mask.device) : zeros(shape, mask.dtype, mask.device)], -1);
        }
    }
}
