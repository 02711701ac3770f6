using TorchFlash.Arguments;
using TorchFlash.Attention;
using TorchFlash.Kernels;
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
            /// With neither a mask nor dropout, float32 and float64 take the fused path, on CUDA devices float16 and bfloat16 too;
            /// <see cref="describe"/> tells which path takes the rest. Leading dimensions broadcast as in libtorch. Tensors of any strides whose last one is 1 are read
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
            /// gradient when it requires one. A row with nothing to attend to gives 0 and no gradient.
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
                bool added = mask is not null && mask.dtype != ScalarType.Bool;
                AttentionCall call = new(
                    shape.Query(query), shape.Key(key), shape.Key(value), causal, scale, added ? null : mask, added ? mask : null, dropout: p);
                return shape.Output(call.Attend().Output).MoveToOuterDisposeScope();
            }
        }
    }
}
