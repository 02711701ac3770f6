using TorchFlash.Arguments;
using TorchFlash.Attention;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Scores;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash;

public static partial class flash
{
    /// <summary>Counterpart of <c>torch.nn</c>.</summary>
    public static partial class nn
    {
        /// <summary>Counterpart of <c>torch.nn.functional</c>.</summary>
        public static partial class functional
        {
            /// <summary>
            /// softmax(scale Q Kᵀ + mask) V, exact, in memory that grows with Nq + Nk: the matrix of scores is never stored, neither
            /// forward nor backward. Takes the place of <c>torch.nn.functional.scaled_dot_product_attention</c>.
            /// </summary>
            /// <remarks>
            /// On the CPU float32 and float64 take the fused path whatever the options; on CUDA devices float16 and bfloat16 too, with neither a mask
            /// nor dropout. <see cref="describe"/> tells which path takes the rest. Leading dimensions broadcast as in libtorch. Tensors of any strides whose last one is 1 are read
            /// where they lie, so [B, H, N, d] views of [B, N, H, d] memory (<c>x.view(B, N, H, d).transpose(1, 2)</c>, or a third of a
            /// packed projection) cost no copy; the result is laid out in the memory order of <paramref name="query"/>, so that
            /// <c>transpose(1, 2).reshape(B, N, H * d)</c> costs none either.
            /// <para>
            /// It can be differentiated again: with <c>create_graph</c> the gradients are computed by differentiable operators of libtorch, in
            /// memory that grows with Nq Nk. (<c>autograd.grad</c> wants <c>retain_graph</c> beside it, which TorchSharp does not imply there.)
            /// </para>
            /// <para>
            /// A NaN or an infinity in an operand reaches the rows that see it. Keys beyond a sequence's length and tiles that nobody sees
            /// are never read; in V of a key that a mask hides it may reach the rows of its own tile, as in every other implementation.
            /// </para>
            /// The arguments stand in PyTorch's order, with <paramref name="causal_alignment"/> behind them; in TorchSharp's function of the
            /// same name <paramref name="is_causal"/> is called <c>is_casual</c>, and <paramref name="scale"/> and what follows it is missing.
            /// </remarks>
            /// <param name="query">Q, (..., Nq, d), floating point.</param>
            /// <param name="key">K, (..., Nk, d).</param>
            /// <param name="value">V, (..., Nk, d_v).</param>
            /// <param name="attn_mask">
            /// Broadcasts to (..., Nq, Nk). Bool: true = may attend. Of <paramref name="query"/>'s type: added to the scores; it gets a
            /// gradient of its own shape when it requires one. A row with nothing to attend to gives 0 and no gradient.
            /// </param>
            /// <param name="p">Probability with which a weight is dropped, 0 to 1; 0 when not training.</param>
            /// <param name="is_causal">Mask keys that come after the query; combines with <paramref name="attn_mask"/>.</param>
            /// <param name="scale">Factor of Q Kᵀ, 1 / sqrt(d) by default.</param>
            /// <param name="enable_gqa">
            /// Grouped-query attention: query is (..., H, Nq, d), and key and value have a number of heads that divides H, each of which serves
            /// as many consecutive heads of query. Their gradients are sums over those.
            /// </param>
            /// <param name="causal_alignment">Where the diagonal lies when Nq != Nk; of no effect unless <paramref name="is_causal"/>.</param>
            /// <returns>O, (..., Nq, d_v).</returns>
            /// <exception cref="ArgumentException">An argument does not fit; the message says what it got and what it takes.</exception>
            /// <exception cref="NotSupportedException">See <see cref="use_deterministic_algorithms"/>.</exception>
            public static Tensor scaled_dot_product_attention(
                Tensor query,
                Tensor key,
                Tensor value,
                Tensor? attn_mask = null,
                double p = 0.0,
                bool is_causal = false,
                double? scale = null,
                bool enable_gqa = false,
                CausalAlignment causal_alignment = CausalAlignment.TopLeft)
            {
                using DisposeScope scope = NewDisposeScope();
                AttentionShape shape = new(query, key, value, enable_gqa);
                Tensor? mask = attn_mask is null ? null : shape.Mask(attn_mask, query);
                ScoreProgram? score = mask is null ? null
                    : mask.dtype == ScalarType.Bool ? ScoreProgram.Identity.mask(mask)
                    : ScoreProgram.Identity.bias(mask);
                return Attend(shape, query, key, value, score, p, is_causal, scale, causal_alignment, null, new()).Output.MoveToOuterDisposeScope();
            }

            /// <summary>
            /// softmax(score(scale Q Kᵀ)) V over the pairs that exist, exact, in memory that grows with Nq + Nk: a score program says what becomes of
            /// the scores, and which pairs exist. Tiles of which none does cost nothing.
            /// </summary>
            /// <remarks>
            /// On the CPU all of it is computed by one fused pass forward and one backward, and all of it has gradients: query, key, value, sinks, and
            /// every floating-point tensor that the program captured. Other devices: see <see cref="describe"/>. Otherwise as
            /// <see cref="scaled_dot_product_attention"/>.
            /// </remarks>
            /// <param name="query">Q, (..., H, Nq, d), floating point.</param>
            /// <param name="key">K, (..., H, Nk, d).</param>
            /// <param name="value">V, (..., H, Nk, d_v).</param>
            /// <param name="score">
            /// See <see cref="flash.score(System.Linq.Expressions.Expression{ScoreFunction})"/>, <see cref="flash.where"/> and <see cref="ScorePrograms"/>; null: scores as they are. Its b counts the leading dimensions
            /// before H as one, its h the heads of query.
            /// </param>
            /// <param name="p">Probability with which a weight is dropped, 0 to 1; 0 when not training. See <see cref="dropout_mask"/>.</param>
            /// <param name="is_causal">Mask keys that come after the query; combines with <paramref name="score"/>.</param>
            /// <param name="scale">Factor of Q Kᵀ, 1 / sqrt(d) by default; the program gets what it leaves.</param>
            /// <param name="enable_gqa">Grouped-query attention: fewer heads of key and value than of query.</param>
            /// <param name="causal_alignment">Where the diagonal lies when Nq != Nk; of no effect unless <paramref name="is_causal"/>.</param>
            /// <param name="sinks">
            /// [H]: attention sinks (GPT-OSS; Xiao et al. 2023), a score for every head that takes part in every row's softmax and has no value. It
            /// gets a gradient when it requires one.
            /// </param>
            /// <returns>O, (..., Nq, d_v); 0 in a row with nothing to attend to.</returns>
            /// <exception cref="ArgumentException">An argument does not fit, or an index of the program may leave its tensor; the message says what.</exception>
            /// <exception cref="NotSupportedException">See <see cref="use_deterministic_algorithms"/>.</exception>
            public static Tensor attention(
                Tensor query,
                Tensor key,
                Tensor value,
                ScoreProgram? score = null,
                double p = 0.0,
                bool is_causal = false,
                double? scale = null,
                bool enable_gqa = false,
                CausalAlignment causal_alignment = CausalAlignment.TopLeft,
                Tensor? sinks = null)
            {
                using DisposeScope scope = NewDisposeScope();
                AttentionShape shape = new(query, key, value, enable_gqa);
                return Attend(shape, query, key, value, score, p, is_causal, scale, causal_alignment, sinks, new()).Output.MoveToOuterDisposeScope();
            }

            /// <summary>
            /// <see cref="attention"/>, and the log of the sum of the exponentials of every row's scores (FlashAttention's <c>softmax_lse</c>), by which parts
            /// of an attention over different keys can be joined. Both can be differentiated.
            /// </summary>
            /// <returns>
            /// O, (..., Nq, d_v), and the log-sum-exp, (..., Nq), of Float64 or else Float32; -inf in a row with nothing to attend to. A sink counts.
            /// </returns>
            /// <inheritdoc cref="attention"/>
            public static (Tensor output, Tensor lse) attention_lse(
                Tensor query,
                Tensor key,
                Tensor value,
                ScoreProgram? score = null,
                double p = 0.0,
                bool is_causal = false,
                double? scale = null,
                bool enable_gqa = false,
                CausalAlignment causal_alignment = CausalAlignment.TopLeft,
                Tensor? sinks = null)
            {
                using DisposeScope scope = NewDisposeScope();
                AttentionShape shape = new(query, key, value, enable_gqa);
                AttentionResults results = Attend(shape, query, key, value, score, p, is_causal, scale, causal_alignment, sinks, new(LogSumExp: true));
                return (results.Output.MoveToOuterDisposeScope(), shape.Rows(results.LogSumExp!).MoveToOuterDisposeScope());
            }

            private static AttentionResults Attend(
                AttentionShape shape, Tensor query, Tensor key, Tensor value, ScoreProgram? score, double p, bool is_causal, double? scale, CausalAlignment causal_alignment,
                Tensor? sinks, WantedResults wanted)
            {
                ArgumentChecks.Probability(p);
                if (scale is { } factor && !double.IsFinite(factor))
                    ArgumentChecks.Refuse(nameof(scale), "takes a finite number, or null for 1 / sqrt(d)", factor);
                CausalMask causal = (is_causal, causal_alignment) switch
                {
                    (false, CausalAlignment.TopLeft or CausalAlignment.BottomRight) => CausalMask.None,
                    (true, CausalAlignment.TopLeft) => CausalMask.TopLeft,
                    (true, CausalAlignment.BottomRight) => CausalMask.BottomRight,
                    _ => throw ArgumentChecks.Refusal(nameof(causal_alignment), "takes a value of CausalAlignment", causal_alignment),
                };
                if (sinks is not null)
                    shape.CheckSinks(sinks, query);
                ulong seed = p > 0 ? (ulong)dropout_seed() : 0;
                AttentionResults results =
                    new AttentionCall(shape.Query(query), shape.Key(key), shape.Value(value), causal, scale, score, sinks, p, seed).Attend(wanted);
                return results with { Output = shape.Output(results.Output) };
            }
        }
    }
}
