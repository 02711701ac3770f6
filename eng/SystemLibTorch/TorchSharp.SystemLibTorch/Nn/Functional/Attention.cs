using System.Runtime.InteropServices;

namespace TorchSharp;

public static partial class torch
{
    public static partial class nn
    {
        public static partial class functional
        {
            /// <summary>O = dropout(softmax(Q Kᵀ / √d + mask)) V. A query that may attend to nothing gives zeros.</summary>
            /// <param name="query">Q, of shape (..., L, d).</param>
            /// <param name="key">K, of shape (..., S, d).</param>
            /// <param name="value">V, of shape (..., S, dv).</param>
            /// <param name="attn_mask">A mask that broadcasts to (..., L, S): boolean, true where attention is allowed, or added.</param>
            /// <param name="p">Dropout probability.</param>
            /// <param name="is_casual">Whether query i sees only keys 0 ... i; excludes a mask.</param>
            /// <returns>O, of shape (..., L, dv).</returns>
            public static Tensor scaled_dot_product_attention(
                Tensor query, Tensor key, Tensor value, Tensor? attn_mask = null, double p = 0.0, [MarshalAs(UnmanagedType.U1)] bool is_casual = false)
            {
                const string name = "scaled_dot_product_attention"; // libtorch 2.0 and later
                if (attn_mask is not null && is_casual) throw new ArgumentException("A mask cannot be combined with is_casual.", nameof(attn_mask));
                return Operator.Exists(name, "")
                    ? Operator.Call(name, "", query, key, value, attn_mask, p, is_casual)
                    : ComposedAttention(query, key, value, attn_mask, p, is_casual);
            }

            /// <summary>The same out of single operators, for libtorch before 2.0.</summary>
            private static Tensor ComposedAttention(Tensor query, Tensor key, Tensor value, Tensor? mask, double p, bool isCausal)
            {
                using var scope = NewDisposeScope();
                var (queries, keys) = (query.shape[^2], key.shape[^2]);

                // S = (Q / d^¼) (K / d^¼)ᵀ: half of the scale on either side keeps half-precision products in range.
                var scale = Math.Pow(query.shape[^1], -0.25);
                var scores = Product(query * scale, (key * scale).transpose(-2, -1));
                if (isCausal)
                {
                    var future = ones([queries, keys], ScalarType.Bool, query.device).triu(1);
                    return Finish(scores.masked_fill_(future, double.NegativeInfinity), null);
                }

                if (mask is null) return Finish(scores, null);
                scores = mask.dtype == ScalarType.Bool
                    ? scores.masked_fill(mask.logical_not(), double.NegativeInfinity)
                    : scores + mask;

                // Rows of nothing but -inf have no softmax: give them finite scores, and zeros for weights afterwards.
                var dead = scores.eq(double.NegativeInfinity).all(-1, true);
                return Finish(scores.masked_fill(dead, 0), dead);

                Tensor Finish(Tensor s, Tensor? deadRows)
                {
                    var weights = softmax(s, -1);
                    if (deadRows is not null) weights = weights.masked_fill(deadRows, 0);
                    if (p > 0) weights = dropout(weights, p);
                    return Product(weights, value).MoveToOuterDisposeScope();
                }

                // Not Tensor.matmul, which is fatal where attention throws.
                static Tensor Product(Tensor left, Tensor right) => Operator.Call("matmul", "", left, right);
            }
        }
    }
}
