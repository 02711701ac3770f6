using TorchFlash.Modules;

namespace TorchFlash;

public static partial class flash
{
    public static partial class nn
    {
        /// <summary>
        /// Multi-head attention as in "Attention Is All You Need", section 3.2.2. Takes the place of <c>torch.nn.MultiheadAttention</c>: same
        /// arguments, parameters, initialisation and state_dict.
        /// </summary>
        /// <param name="embedded_dim">Width E of query and output; a multiple of <paramref name="num_heads"/>.</param>
        /// <param name="num_heads">Number of heads H.</param>
        /// <param name="dropout">Probability with which a weight is dropped in training.</param>
        /// <param name="bias">Whether the projections have biases.</param>
        /// <param name="add_bias_kv">Append a learned key and value to every sequence.</param>
        /// <param name="add_zero_attn">Append a key and value of zeros to every sequence.</param>
        /// <param name="kdim">Width of key, E by default.</param>
        /// <param name="vdim">Width of value, E by default.</param>
        /// <param name="batch_first">Tensors are (N, L, E) instead of (L, N, E).</param>
        /// <param name="is_causal">Query i attends to keys 0 .. i (and to what add_bias_kv and add_zero_attn append).</param>
        /// <param name="average_attn_weights">Whether weights are averaged over heads, else there are those of every head.</param>
        /// <exception cref="ArgumentException">A size or a probability is out of its range.</exception>
        public static MultiheadAttention MultiheadAttention(
            long embedded_dim,
            long num_heads,
            double dropout = 0.0,
            bool bias = true,
            bool add_bias_kv = false,
            bool add_zero_attn = false,
            long? kdim = null,
            long? vdim = null,
            bool batch_first = false,
            bool is_causal = false,
            bool average_attn_weights = true) =>
            new(embedded_dim, num_heads, dropout, bias, add_bias_kv, add_zero_attn, kdim, vdim, batch_first, is_causal, average_attn_weights);

        /// <summary>
        /// The counterpart of an existing module, with a copy of its weights, their type and device, and its train or eval mode. Sizes,
        /// bias and add_bias_kv are read off its parameters; the rest cannot be read from it and has to be said again.
        /// </summary>
        /// <param name="module">Where the weights come from; it is not changed.</param>
        /// <param name="num_heads">The number of heads it was made with.</param>
        /// <param name="dropout">The dropout it was made with.</param>
        /// <param name="add_zero_attn">Whether it was made with add_zero_attn.</param>
        /// <param name="batch_first">Tensors are (N, L, E) instead of (L, N, E).</param>
        /// <param name="is_causal">Query i attends to keys 0 .. i.</param>
        /// <param name="average_attn_weights">Whether weights are averaged over heads, else there are those of every head.</param>
        /// <exception cref="ArgumentException">The module's width is not a multiple of <paramref name="num_heads"/>, or an argument is out of its range.</exception>
        public static MultiheadAttention MultiheadAttention(
            TorchSharp.Modules.MultiheadAttention module,
            long num_heads,
            double dropout = 0.0,
            bool add_zero_attn = false,
            bool batch_first = false,
            bool is_causal = false,
            bool average_attn_weights = true) =>
            TorchFlash.Modules.MultiheadAttention.From(module, num_heads, dropout, add_zero_attn, batch_first, is_causal, average_attn_weights);
    }
}
