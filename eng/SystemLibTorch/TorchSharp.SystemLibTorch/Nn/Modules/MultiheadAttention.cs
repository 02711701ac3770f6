using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace TorchSharp.Modules
{
    /// <summary>Attention of several heads, as libtorch's C++ module computes it. Layout (length, batch, embedding).</summary>
    public sealed class MultiheadAttention
        : nn.Module<Tensor, Tensor, Tensor, Tensor?, bool, Tensor?, Tuple<Tensor, Tensor>>
    {
        internal unsafe MultiheadAttention(
            long embedded_dim, long num_heads, double dropout, bool bias, bool add_bias_kv, bool add_zero_attn, long kdim, long vdim)
            : base(nameof(MultiheadAttention))
        {
            Bridge.AttentionNew(
                embedded_dim, num_heads, dropout, bias ? 1 : 0, add_bias_kv ? 1 : 0, add_zero_attn ? 1 : 0, kdim, vdim, out var module);
            Wrap(new NativeModule(module));
        }

        /// <summary>Applies the attention.</summary>
        /// <param name="query">Of shape (L, N, E).</param>
        /// <param name="key">Of shape (S, N, kdim).</param>
        /// <param name="value">Of shape (S, N, vdim).</param>
        /// <param name="key_padding_mask">Of shape (N, S), boolean: true masks the key.</param>
        /// <param name="need_weights">Whether to return the weights too.</param>
        /// <param name="attn_mask">Of shape (L, S) or (N · heads, L, S): added to the scores.</param>
        /// <returns>The output (L, N, E), and the weights (N, L, S), averaged over the heads, or an invalid tensor.</returns>
        public override unsafe Tuple<Tensor, Tensor> forward(
            Tensor query, Tensor key, Tensor value, Tensor? key_padding_mask, bool need_weights, Tensor? attn_mask)
        {
            Bridge.AttentionForward(
                native!,
                query,
                key,
                value,
                key_padding_mask?.Handle ?? IntPtr.Zero,
                need_weights ? 1 : 0,
                attn_mask?.Handle ?? IntPtr.Zero,
                out var output,
                out var weights);
            GC.KeepAlive(key_padding_mask);
            GC.KeepAlive(attn_mask);
            return Tuple.Create(new Tensor(output), new Tensor(weights));
        }

        /// <inheritdoc cref="forward"/>
        public new Tuple<Tensor, Tensor> call(
            Tensor query, Tensor key, Tensor value, Tensor? key_padding_mask = null, bool need_weights = true, Tensor? attn_mask = null) =>
            base.call(query, key, value, key_padding_mask, need_weights, attn_mask);
    }
}

namespace TorchSharp
{
    internal static unsafe partial class Bridge
    {
        [LibraryImport(Library, EntryPoint = "TorchBridge_attentionNew")]
        internal static partial Outcome AttentionNew(
            long embedDim, long numHeads, double dropout, long bias, long addBiasKv, long addZeroAttn, long kdim, long vdim, out IntPtr module);

        [LibraryImport(Library, EntryPoint = "TorchBridge_attentionForward")]
        internal static partial Outcome AttentionForward(
            NativeModule module,
            Tensor query,
            Tensor key,
            Tensor value,
            IntPtr keyPaddingMask,
            long needWeights,
            IntPtr attnMask,
            out IntPtr output,
            out IntPtr weights);
    }

    public static partial class torch
    {
        public static partial class nn
        {
            /// <summary>Attention of several heads (Vaswani et al., 2017), in the layout (length, batch, embedding).</summary>
            /// <param name="embedded_dim">Embedding dimension E of queries and output, a multiple of the number of heads.</param>
            /// <param name="num_heads">Number of heads.</param>
            /// <param name="dropout">Dropout probability of the weights in training.</param>
            /// <param name="bias">Whether the projections have biases.</param>
            /// <param name="add_bias_kv">Whether to append a trained key and value.</param>
            /// <param name="add_zero_attn">Whether to append a zero key and value.</param>
            /// <param name="kdim">Dimension of the keys; E if null.</param>
            /// <param name="vdim">Dimension of the values; E if null.</param>
            public static Modules.MultiheadAttention MultiheadAttention(
                long embedded_dim,
                long num_heads,
                double dropout = 0.0,
                bool bias = true,
                bool add_bias_kv = false,
                bool add_zero_attn = false,
                long? kdim = null,
                long? vdim = null) =>
                new(embedded_dim, num_heads, dropout, bias, add_bias_kv, add_zero_attn, kdim ?? embedded_dim, vdim ?? embedded_dim);
        }
    }
}
