using System.Linq.Expressions;
using TorchFlash.Arguments;
using TorchFlash.Attention;
using TorchFlash.Kernels.Scores;
using TorchFlash.Scores;
using static TorchSharp.torch;

namespace TorchFlash;

/// <summary>
/// Score programs, step by step: the user's own steps and what people ask for most. Programs begin at <see cref="flash.score(System.Linq.Expressions.Expression{ScoreFunction})"/>,
/// <see cref="flash.where"/> or <see cref="ScoreProgram.Identity"/>; every function returns a new one. Modifications apply one after the other,
/// a pair exists where all conditions hold. Heads are those of query, also where key and value have fewer.
/// </summary>
public static class ScorePrograms
{
    /// <summary>One more modification, of the score that the program leaves; see <see cref="flash.score(System.Linq.Expressions.Expression{ScoreFunction})"/>.</summary>
    public static ScoreProgram then(this ScoreProgram program, Expression<ScoreFunction> modification) => program.Then(modification);

    /// <summary>Another program after this one.</summary>
    public static ScoreProgram then(this ScoreProgram program, ScoreProgram next) => program.Then(next);

    /// <summary>One more condition; see <see cref="flash.where"/>.</summary>
    public static ScoreProgram where(this ScoreProgram program, Expression<PairFunction> condition) => program.Where(condition);

    /// <summary><c>j &lt;= i + offset</c>. Offset 0: aligned top left; Nk - Nq: aligned bottom right.</summary>
    public static ScoreProgram causal(this ScoreProgram program, long offset = 0)
    {
        int shift = Int(offset, nameof(offset));
        return program.Then(Terms.Where(t => t.J <= Shifted(t, shift)));
    }

    /// <summary>
    /// Sliding window: <c>i + offset - left &lt;= j &lt;= i + offset + right</c>, FlashAttention's <c>window_size</c>, Longformer's (Beltagy et al. 2020) and
    /// Mistral's attention.
    /// </summary>
    /// <param name="program">The program.</param>
    /// <param name="left">Keys before the query's own; -1: all.</param>
    /// <param name="right">Keys after it; -1: all, 0: causal.</param>
    /// <param name="offset">The key of query 0: 0 aligned top left, Nk - Nq aligned bottom right.</param>
    public static ScoreProgram window(this ScoreProgram program, long left, long right, long offset = 0)
    {
        if (left < -1)
            ArgumentChecks.Refuse(nameof(left), "takes 0 or more, or -1 for all", left);
        if (right < -1)
            ArgumentChecks.Refuse(nameof(right), "takes 0 or more, or -1 for all", right);
        (long first, long last) = (offset - left, offset + right);
        (int low, int high) = (Int(first, nameof(left)), Int(last, nameof(right)));
        if (left >= 0)
            program = program.Then(Terms.Where(t => t.I + t.Parameter(low, nameof(left)) <= t.J));
        return right < 0 ? program : program.Then(Terms.Where(t => t.J <= t.I + t.Parameter(high, nameof(right))));
    }

    /// <summary>ALiBi (Press et al. 2021): <c>s + slopes[h] * (j - i)</c>; <see cref="flash.alibi_slopes"/> are the paper's.</summary>
    /// <param name="program">The program.</param>
    /// <param name="slopes">[H], floating point.</param>
    public static ScoreProgram alibi(this ScoreProgram program, Tensor slopes)
    {
        RealTensor captured = Reals(slopes, "[H]", 1);
        return program.Then(Terms.Score(t => t.S + t.Load(captured, t.H) * (t.J - t.I).Real()));
    }

    /// <summary>Gemma 2's soft capping: <c>cap * tanh(s / cap)</c>.</summary>
    public static ScoreProgram softcap(this ScoreProgram program, double cap)
    {
        if (!(double.IsFinite(cap) && cap > 0))
            ArgumentChecks.Refuse(nameof(cap), "takes a finite number above 0", cap);
        return program.Then(Terms.Score(t => t.Parameter(cap, nameof(cap)) * (t.S / t.Parameter(cap, nameof(cap))).Tanh()));
    }

    /// <summary>Relative positions (Shaw et al. 2018; Swin's tables): <c>s + table[h, i + offset - j + n]</c>.</summary>
    /// <param name="program">The program.</param>
    /// <param name="table">[H or 1, 2n + 1], floating point.</param>
    /// <param name="clip">Distances beyond n share the entry of n; else they are refused.</param>
    /// <param name="offset">The position of query 0 among the keys.</param>
    public static ScoreProgram relative_bias(this ScoreProgram program, Tensor table, bool clip = false, long offset = 0)
    {
        RealTensor captured = Reals(table, "[H or 1, 2n + 1]", 2);
        int width = captured.Shape[1], shift = Int(offset, nameof(offset));
        if (width % 2 == 0)
            ArgumentChecks.Refuse(nameof(table), "takes [H or 1, 2n + 1]", ArgumentChecks.Text(table.shape));
        return program.Then(Terms.Score(t =>
        {
            Term index = Shifted(t, shift) - t.J + t.Constant(width / 2);
            return t.S + t.Load(captured, captured.Shape[0] == 1 ? t.Constant(0) : t.H, clip ? index.Clamp(t.Constant(0), t.Constant(width - 1)) : index);
        }));
    }

    /// <summary>
    /// T5's relative positions (Raffel et al. 2020): <c>s + table[bucket(j - i - offset), h]</c>; near distances have a bucket of their own, far ones share
    /// logarithmic ones, those of <paramref name="max_distance"/> and beyond the last.
    /// </summary>
    /// <param name="program">The program.</param>
    /// <param name="table">[buckets, H], floating point: the model's <c>relative_attention_bias.weight</c>.</param>
    /// <param name="bidirectional">Whether keys after the query have buckets of their own (encoders), else they share that of 0.</param>
    /// <param name="max_distance">See above.</param>
    /// <param name="offset">The position of query 0 among the keys.</param>
    public static ScoreProgram t5_bias(this ScoreProgram program, Tensor table, bool bidirectional = true, long max_distance = 128, long offset = 0)
    {
        RealTensor captured = Reals(table, "[buckets, H]", 2);
        int all = captured.Shape[0], shift = Int(offset, nameof(offset)), furthest = Int(max_distance, nameof(max_distance));
        int buckets = bidirectional ? all / 2 : all, exact = buckets / 2;
        if (exact < 1 || bidirectional && all % 2 != 0)
            ArgumentChecks.Refuse(nameof(table), $"takes {(bidirectional ? "an even number of buckets, 4" : "2 buckets")} or more", ArgumentChecks.Text(table.shape));
        if (furthest <= exact)
            ArgumentChecks.Refuse(nameof(max_distance), $"takes more than {exact}, below which every distance has a bucket of its own", max_distance);
        long[] numbers = [.. Enumerable.Range(-furthest, 2 * furthest + 1).Select(Bucket)];
        IntTensor bucket = new(tensor(numbers, device: table.device).DetachFromDisposeScope(), numbers.Length) { Name = nameof(bucket) };
        return program.Then(Terms.Score(t =>
        {
            Term far = t.Constant(furthest), distance = (t.J - Shifted(t, shift)).Clamp(t.Constant(-furthest), far);
            return t.S + t.Load(captured, t.Load(bucket, distance + far), t.H);
        }));

        long Bucket(int position) // Of the key, as seen from the query.
        {
            long first = bidirectional && position > 0 ? buckets : 0;
            int distance = bidirectional ? Math.Abs(position) : Math.Max(-position, 0);
            if (distance < exact)
                return first + distance;
            // In float, as the models do.
            float share = MathF.Log((float)distance / exact) / MathF.Log((float)furthest / exact);
            return first + Math.Min(exact + (int)(share * (buckets - exact)), buckets - 1);
        }
    }

    /// <summary>Prefix language model (Raffel et al. 2020): <c>j &lt;= i || j &lt; lengths[b]</c>.</summary>
    /// <param name="program">The program.</param>
    /// <param name="lengths">[B], Int64 or Int32: of the prefix that everybody sees.</param>
    public static ScoreProgram prefix_lm(this ScoreProgram program, Tensor lengths)
    {
        IntTensor captured = Ints(lengths, "[B]", 1, 1);
        return program.Then(Terms.Where(t => t.J <= t.I | t.J < t.Load(captured, t.B)));
    }

    /// <summary>Documents packed into one sequence: <c>ids[b, i] == ids[b, j]</c>. Cheapest where every document is one stretch.</summary>
    /// <param name="program">The program.</param>
    /// <param name="ids">[B, N] or [N], Int64 or Int32: the document of every query and key.</param>
    public static ScoreProgram documents(this ScoreProgram program, Tensor ids) => program.documents(ids, ids);

    /// <summary>The same for queries that are not the keys: <c>query_ids[b, i] == key_ids[b, j]</c>.</summary>
    /// <param name="program">The program.</param>
    /// <param name="query_ids">[B, Nq] or [Nq], Int64 or Int32.</param>
    /// <param name="key_ids">[B, Nk] or [Nk], Int64 or Int32.</param>
    public static ScoreProgram documents(this ScoreProgram program, Tensor query_ids, Tensor key_ids)
    {
        IntTensor queries = Ints(query_ids, "[B, N] or [N]", 1, 2);
        IntTensor keys = ReferenceEquals(query_ids, key_ids) ? queries : Ints(key_ids, "[B, N] or [N]", 1, 2);
        return program.Then(Terms.Where(t => Id(t, queries, t.I).Is(Id(t, keys, t.J))));

        static Term Id(Terms t, IntTensor ids, Term position) => ids.Shape.Count == 1 ? t.Load(ids, position) : t.Load(ids, t.B, position);
    }

    /// <summary>Sequences of different lengths: <c>j &lt; lengths[b]</c>.</summary>
    /// <param name="program">The program.</param>
    /// <param name="lengths">[B], Int64 or Int32.</param>
    public static ScoreProgram key_padding(this ScoreProgram program, Tensor lengths)
    {
        IntTensor captured = Ints(lengths, "[B]", 1, 1);
        return program.Then(Terms.Where(t => t.J < t.Load(captured, t.B)));
    }

    /// <summary>A mask of keys: <c>mask[b, j]</c>.</summary>
    /// <param name="program">The program.</param>
    /// <param name="mask">[B, Nk], Bool: true = may be attended to.</param>
    public static ScoreProgram key_mask(this ScoreProgram program, Tensor mask)
    {
        BoolTensor captured = Bools(mask, "[B, Nk]", 2, 2);
        return program.Then(Terms.Where(t => t.Load(captured, t.B, t.J)));
    }

    /// <summary>A mask of pairs, as <c>attn_mask</c> of Bool.</summary>
    /// <param name="program">The program.</param>
    /// <param name="mask">Bool, true = may attend; broadcasts to [B, H, Nq, Nk].</param>
    public static ScoreProgram mask(this ScoreProgram program, Tensor mask)
    {
        BoolTensor captured = Bools(mask, "a shape that broadcasts to [B, H, Nq, Nk]", 1, 4);
        return program.Then(Terms.Where(t => t.Broadcast(captured, t.J)));
    }

    /// <summary>A bias of pairs, as <c>attn_mask</c> of floating point: its gradient comes summed over what it is broadcast along.</summary>
    /// <param name="program">The program.</param>
    /// <param name="bias">Floating point, added to the scores; broadcasts to [B, H, Nq, Nk].</param>
    public static ScoreProgram bias(this ScoreProgram program, Tensor bias)
    {
        RealTensor captured = Reals(bias, "a shape that broadcasts to [B, H, Nq, Nk]", 1, 4);
        return program.Then(Terms.Score(t => t.S + t.Broadcast(captured, t.J)));
    }

    /// <summary>Block-sparse attention: only pairs that the mask keeps.</summary>
    public static ScoreProgram blocks(this ScoreProgram program, BlockMask mask)
    {
        ArgumentNullException.ThrowIfNull(mask);
        return program.Then(mask.Program);
    }

    private static Term Shifted(Terms t, int offset) => offset == 0 ? t.I : t.I + t.Parameter(offset, nameof(offset));

    private static RealTensor Reals(Tensor tensor, string takes, int least, int most = 0, [System.Runtime.CompilerServices.CallerArgumentExpression(nameof(tensor))] string name = "") =>
        Named(tensor, flash.reals, takes, least, most == 0 ? least : most, name);

    private static IntTensor Ints(Tensor tensor, string takes, int least, int most, [System.Runtime.CompilerServices.CallerArgumentExpression(nameof(tensor))] string name = "") =>
        Named(tensor, flash.ints, takes, least, most, name);

    private static BoolTensor Bools(Tensor tensor, string takes, int least, int most, [System.Runtime.CompilerServices.CallerArgumentExpression(nameof(tensor))] string name = "") =>
        Named(tensor, flash.bools, takes, least, most, name);

    private static T Named<T>(Tensor tensor, Func<Tensor, T> capture, string takes, int least, int most, string name)
        where T : ScoreTensor
    {
        ArgumentChecks.Usable(tensor, name);
        if (tensor.dim() < least || tensor.dim() > most)
            ArgumentChecks.Refuse(name, $"takes {takes}", ArgumentChecks.Text(TensorMemory.Sizes(tensor)));
        ScalarType type = tensor.dtype;
        bool fits = typeof(T) == typeof(RealTensor) ? type is ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Float32 or ScalarType.Float64
            : typeof(T) == typeof(IntTensor) ? type is ScalarType.Int64 or ScalarType.Int32
            : type == ScalarType.Bool;
        if (!fits)
            ArgumentChecks.Refuse(name, $"takes {(typeof(T) == typeof(RealTensor) ? "floating point" : typeof(T) == typeof(IntTensor) ? "Int64 or Int32" : "Bool")}", type);
        T captured = capture(tensor);
        captured.Name = name;
        return captured;
    }

    private static int Int(long value, string name)
    {
        if (Math.Abs(value) > Kernels.AttentionProblem.MaxLength)
            ArgumentChecks.Refuse(name, $"takes a position of at most {Kernels.AttentionProblem.MaxLength}", value);
        return (int)value;
    }
}
