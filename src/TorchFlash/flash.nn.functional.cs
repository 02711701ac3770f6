using TorchFlash.Attention;
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
            /// The fused path is not differentiable twice: with <c>create_graph</c>, <c>backward()</c> throws and reports a gradient of
            /// the shape [0, 7, 7]; the reason is in <see cref="last_backward_exception"/>.
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
            /// <param name="causal_alignment">Where the diagonal lies when Nq != Nk; of no effect unless <paramref name="is_causal"/>.</param>
            /// <param name="enable_gqa">
            /// Grouped-query attention: query is (..., H, Nq, d), and key and value have a number of heads that divides H, each of which serves
            /// as many consecutive heads of query. Their gradients are sums over those.
            /// </param>
            /// <returns>O, (..., Nq, d_v).</returns>
            /// <exception cref="ArgumentException">An argument does not fit; the message says what it got and what it takes.</exception>
            public static Tensor scaled_dot_product_attention(
                Tensor query,
                Tensor key,
                Tensor value,
                Tensor? attn_mask = null,
                double p = 0.0,
                bool is_causal = false,
                double? scale = null,
                CausalAlignment causal_alignment = CausalAlignment.TopLeft,
                bool enable_gqa = false)
            {
                AttentionShape shape = ArgumentChecks.Attention(query, key, value, attn_mask, p, scale, causal_alignment, enable_gqa);
                using DisposeScope scope = NewDisposeScope();
                AttentionCall call = new()
                {
                    Query = shape.ToFourDimensions(query),
                    Key = shape.KeyToFourDimensions(key),
                    Value = shape.KeyToFourDimensions(value),
                    Allowed = attn_mask?.dtype == ScalarType.Bool ? shape.ToFourDimensions(attn_mask, isMask: true) : null,
                    Bias = attn_mask is not null && attn_mask.dtype != ScalarType.Bool ? shape.ToFourDimensions(attn_mask, isMask: true) : null,
                    Causal = ArgumentChecks.CausalMask(is_causal, causal_alignment),
                    Scale = scale ?? Kernels.AttentionProblem.DefaultScale((int)shape.HeadDim),
                    Dropout = p,
                };
                return shape.FromFourDimensions(call.Attend()).MoveToOuterDisposeScope();
            }
        }
    }
}
