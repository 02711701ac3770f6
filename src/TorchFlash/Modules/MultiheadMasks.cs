using TorchFlash.Arguments;
using TorchFlash.Attention;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Scores;
using TorchFlash.Scores;
using static TorchSharp.torch;

namespace TorchFlash.Modules;

/// <summary>
/// The masks of multi-head attention over N sequences, H heads, L queries and S keys. In the module's arguments true means "may not
/// attend", in a score program "may".
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
        long appended = key.size(2) - KeyLength;
        ScoreProgram score = ScoreProgram.Identity;
        int last = (int)KeyLength - 1;
        if (key_padding_mask is not null && KeyLength > 0)
        {
            Tensor padding = key_padding_mask.dtype == ScalarType.Bool ? key_padding_mask : key_padding_mask.ne(0);
            score = score.Then(Terms.Where(t => Unless(t, !t.Load(Named(flash.bools(padding), nameof(key_padding_mask)), t.B, Key(t)))));
        }
        if (attn_mask is not null && KeyLength > 0)
        {
            Tensor mask = attn_mask.dim() == 3 ? attn_mask.reshape(Batch, Heads, QueryLength, KeyLength) : attn_mask;
            score = score.Then(mask.dtype == ScalarType.Bool
                ? Terms.Where(t => Unless(t, !t.Broadcast(Named(flash.bools(mask), nameof(attn_mask)), Key(t))))
                : Terms.Score(t =>
                {
                    Term sum = t.S + t.Broadcast(Named(flash.reals(mask), nameof(attn_mask)), Key(t));
                    return appended == 0 ? sum : (t.J <= t.Parameter(last, "S - 1")).Choose(sum, t.S);
                }));
        }
        if (IsCausal && appended > 0)
            score = score.Then(Terms.Where(t => Unless(t, t.J <= t.I)));
        ulong seed = dropout > 0 ? (ulong)flash.dropout_seed() : 0;
        return new AttentionCall(
            query, key, value, IsCausal && appended == 0 ? CausalMask.TopLeft : CausalMask.None, score: score, dropout: dropout, dropoutSeed: seed);

        // The masks know of keys 0 .. S - 1 only.
        Term Key(Terms t) => appended == 0 ? t.J : t.J.Clamp(t.Constant(0), t.Parameter(last, "S - 1"));

        Term Unless(Terms t, Term condition) => appended == 0 ? condition : condition | t.J > t.Parameter(last, "S - 1");

        static T Named<T>(T tensor, string name)
            where T : ScoreTensor
        {
            tensor.Name = name;
            return tensor;
        }
    }
}
