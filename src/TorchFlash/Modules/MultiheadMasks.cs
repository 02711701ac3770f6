using TorchFlash.Attention;
using TorchFlash.Kernels;
using static TorchSharp.torch;

namespace TorchFlash.Modules;

/// <summary>
/// The masks of multi-head attention in the terms of <see cref="AttentionCall"/>. There true means "may attend"; in the
/// module's arguments it means "may not". Keys that the module appends may always be attended to.
/// </summary>
/// <param name="Allowed">Bool, broadcasts to [N, H, L, S].</param>
/// <param name="Bias">Added to the scores, broadcasts to [N, H, L, S].</param>
/// <param name="Causal">The causal mask where it need not be in <paramref name="Allowed"/>.</param>
internal readonly record struct MultiheadMasks(Tensor? Allowed, Tensor? Bias, CausalMask Causal)
{
    /// <summary>Masks that <see cref="Check"/> has let through, over S = keyLength + appended keys.</summary>
    public static MultiheadMasks Combine(
        Tensor? keyPaddingMask,
        Tensor? attentionMask,
        bool isCausal,
        long batch,
        long heads,
        long queryLength,
        long keyLength,
        long appended,
        Tensor like)
    {
        Tensor? allowed = null, bias = null;
        if (keyPaddingMask is not null)
            Restrict(keyPaddingMask.eq(0).view(batch, 1, 1, keyLength));
        if (attentionMask is not null)
        {
            Tensor mask = attentionMask.shape.Length == 3 ? attentionMask.reshape(batch, heads, queryLength, keyLength) : attentionMask;
            if (mask.dtype == ScalarType.Bool)
                Restrict(mask.logical_not());
            else
                bias = Extend(mask.to(like.dtype));
        }
        if (isCausal && appended > 0)
            Restrict(ComposedAttention.CausalMatrix(queryLength, keyLength, 0, like.device));
        return new MultiheadMasks(allowed, bias, isCausal && appended == 0 ? CausalMask.TopLeft : CausalMask.None);

        void Restrict(Tensor mask)
        {
            mask = Extend(mask);
            allowed = allowed is null ? mask : allowed.logical_and(mask);
        }

        Tensor Extend(Tensor mask)
        {
            if (appended == 0)
                return mask;
            long[] shape = [.. mask.shape[..^1], appended];
            return cat([mask, mask.dtype == ScalarType.Bool ? ones(shape, mask.dtype, mask.device) : zeros(shape, mask.dtype, mask.device)], -1);
        }
    }

    /// <summary>Refuses masks that do not fit, in the module's terms.</summary>
    public static void Check(
        Tensor? key_padding_mask, Tensor? attn_mask, long batch, long heads, long queryLength, long keyLength, Tensor query)
    {
        if (key_padding_mask is not null)
        {
            ArgumentChecks.Usable(key_padding_mask);
            if (key_padding_mask.dtype is not (ScalarType.Bool or ScalarType.Byte))
                ArgumentChecks.Refuse(nameof(key_padding_mask), "takes Bool or Byte (true = leave out)", key_padding_mask.dtype);
            if (!key_padding_mask.shape.SequenceEqual([batch, keyLength]))
                ArgumentChecks.Refuse(nameof(key_padding_mask), $"takes (N, S) = [{batch}, {keyLength}]", ArgumentChecks.Text(key_padding_mask.shape));
            OnDevice(key_padding_mask, nameof(key_padding_mask));
        }
        if (attn_mask is not null)
        {
            ArgumentChecks.Usable(attn_mask);
            if (attn_mask.dtype is not (ScalarType.Bool or ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Float32 or ScalarType.Float64))
                ArgumentChecks.Refuse(nameof(attn_mask), "takes Bool (true = may not attend) or floating point (added to the scores)", attn_mask.dtype);
            long[] shape = attn_mask.shape;
            if (!shape.SequenceEqual([queryLength, keyLength]) && !shape.SequenceEqual([batch * heads, queryLength, keyLength]))
            {
                ArgumentChecks.Refuse(
                    nameof(attn_mask),
                    $"takes (L, S) = [{queryLength}, {keyLength}] or (N * H, L, S) = [{batch * heads}, {queryLength}, {keyLength}]",
                    ArgumentChecks.Text(shape));
            }
            OnDevice(attn_mask, nameof(attn_mask));
        }

        void OnDevice(Tensor mask, string name)
        {
            if (mask.device_type != query.device_type || mask.device_index != query.device_index)
                ArgumentChecks.Refuse(name, $"takes a tensor on the device of query, {query.device}", mask.device);
        }
    }
}
