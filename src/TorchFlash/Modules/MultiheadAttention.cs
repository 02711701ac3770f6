using TorchFlash.Arguments;
using TorchFlash.Attention;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace TorchFlash.Modules;

/// <summary>
/// Multi-head attention that never stores the matrix of scores; made by
/// <see cref="flash.nn.MultiheadAttention(long, long, double, bool, bool, bool, long?, long?, bool, bool, bool)"/>.
/// Behaves as <see cref="TorchSharp.Modules.MultiheadAttention"/> does, except that a bool <c>attn_mask</c> masks (true = may not
/// attend, as in PyTorch) where TorchSharp's adds 1 to the scores.
/// </summary>
public sealed class MultiheadAttention : nn.Module<Tensor, Tensor, Tensor, Tensor?, bool, Tensor?, Tuple<Tensor, Tensor>>
{
    // Fields bear the names that parameters have in a state_dict.
    private readonly Parameter? in_proj_weight;
    private readonly Parameter? q_proj_weight;
    private readonly Parameter? k_proj_weight;
    private readonly Parameter? v_proj_weight;
    private readonly Parameter? in_proj_bias;
    private readonly Parameter? bias_k;
    private readonly Parameter? bias_v;
    private readonly Linear out_proj;

    internal MultiheadAttention(
        long embedded_dim,
        long num_heads,
        double dropout,
        bool bias,
        bool add_bias_kv,
        bool add_zero_attn,
        long? kdim,
        long? vdim,
        bool batch_first,
        bool is_causal,
        bool average_attn_weights)
        : base(nameof(MultiheadAttention))
    {
        ArgumentChecks.Positive(num_heads);
        if (embedded_dim < 1 || embedded_dim % num_heads != 0)
            ArgumentChecks.Refuse(nameof(embedded_dim), $"takes a positive multiple of num_heads, {num_heads}", embedded_dim);
        ArgumentChecks.Probability(dropout);
        ArgumentChecks.Positive(kdim);
        ArgumentChecks.Positive(vdim);
        this.embedded_dim = embedded_dim;
        this.num_heads = num_heads;
        this.dropout = dropout;
        this.add_zero_attn = add_zero_attn;
        this.kdim = kdim ?? embedded_dim;
        this.vdim = vdim ?? embedded_dim;
        this.batch_first = batch_first;
        this.is_causal = is_causal;
        this.average_attn_weights = average_attn_weights;

        // The order in which random numbers are drawn is libtorch's: the same seed gives the same weights.
        out_proj = nn.Linear(embedded_dim, embedded_dim, hasBias: bias);
        if (this.kdim == embedded_dim && this.vdim == embedded_dim)
        {
            in_proj_weight = XavierUniform(3 * embedded_dim, embedded_dim);
        }
        else
        {
            q_proj_weight = XavierUniform(embedded_dim, embedded_dim);
            k_proj_weight = XavierUniform(embedded_dim, this.kdim);
            v_proj_weight = XavierUniform(embedded_dim, this.vdim);
        }
        if (bias)
        {
            in_proj_bias = new Parameter(zeros(3 * embedded_dim));
            nn.init.zeros_(out_proj.bias!);
        }
        if (add_bias_kv)
        {
            bias_k = XavierNormal(embedded_dim);
            bias_v = XavierNormal(embedded_dim);
        }
        RegisterComponents();
    }

    /// <summary>Width E of query and output.</summary>
    public long embedded_dim { get; }

    /// <summary>Number of heads H.</summary>
    public long num_heads { get; }

    /// <summary>Probability with which a weight is dropped in training.</summary>
    public double dropout { get; }

    /// <summary>Whether a key and value of zeros is appended to every sequence.</summary>
    public bool add_zero_attn { get; }

    /// <summary>Width of key.</summary>
    public long kdim { get; }

    /// <summary>Width of value.</summary>
    public long vdim { get; }

    /// <summary>Whether tensors are (N, L, E) instead of (L, N, E).</summary>
    public bool batch_first { get; }

    /// <summary>Whether query i attends to keys 0 .. i only.</summary>
    public bool is_causal { get; }

    /// <summary>
    /// Whether the weights that <c>need_weights</c> asks for are averaged over heads, else there are those of every head. PyTorch's argument of
    /// <c>forward</c>, which TorchSharp's module does not have; it may be set between calls.
    /// </summary>
    public bool average_attn_weights { get; set; }

    /// <summary>Invoke the logic of the module, and its hooks; see <see cref="forward"/>.</summary>
    public new Tuple<Tensor, Tensor> call(
        Tensor query, Tensor key, Tensor value, Tensor? key_padding_mask = null, bool need_weights = true, Tensor? attn_mask = null) =>
        base.call(query, key, value, key_padding_mask, need_weights, attn_mask);

    /// <summary>Invoke the logic of the module.</summary>
    /// <param name="query">(L, N, E), or (N, L, E) with <see cref="batch_first"/>.</param>
    /// <param name="key">(S, N, kdim), or (N, S, kdim). The same tensor object for query, key and value is projected in one product.</param>
    /// <param name="value">(S, N, vdim), or (N, S, vdim).</param>
    /// <param name="key_padding_mask">(N, S), Bool or Byte: keys to leave out are true, or not 0.</param>
    /// <param name="need_weights">Whether the weights are wanted too.</param>
    /// <param name="attn_mask">(L, S) or (N * H, L, S). Bool: true = may not attend. Floating point: added to the scores.</param>
    /// <returns>
    /// The output, shaped as query, and the weights after dropout, averaged over heads, (N, L, S + what is appended), or with
    /// <see cref="average_attn_weights"/> off of every head, (N, H, L, S + what is appended); an invalid tensor when they are not wanted. The
    /// weights take O(L S) memory by their nature; without them it is O(L + S).
    /// </returns>
    /// <exception cref="ArgumentException">An argument does not fit; the message says what it got and what it takes.</exception>
    public override Tuple<Tensor, Tensor> forward(
        Tensor query, Tensor key, Tensor value, Tensor? key_padding_mask = null, bool need_weights = true, Tensor? attn_mask = null)
    {
        MultiheadMasks masks = Check(query, key, value, key_padding_mask, attn_mask);
        using DisposeScope scope = NewDisposeScope();
        (Tensor q, Tensor k, Tensor v) = Project(query, key, value);
        if (bias_k is not null)
            (k, v) = (Append(k, bias_k), Append(v, bias_v!));
        if (add_zero_attn)
        {
            Tensor zero = zeros([1, 1, embedded_dim], dtype: q.dtype, device: q.device);
            (k, v) = (Append(k, zero), Append(v, zero));
        }
        (Tensor attended, Tensor? weights, _) =
            masks.Apply(SplitHeads(q), SplitHeads(k), SplitHeads(v), training ? dropout : 0).Attend(new(need_weights, !average_attn_weights));
        Tensor output = out_proj.call(MergeHeads(attended));
        return Tuple.Create(output.MoveToOuterDisposeScope(), weights?.MoveToOuterDisposeScope() ?? Tensor.UnsafeCreateTensor(IntPtr.Zero));
    }

    private int SequenceDim => batch_first ? 1 : 0;

    private int BatchDim => batch_first ? 0 : 1;

    /// <summary>x W_qᵀ + b_q and so on, each in the layout of its input with width E; what has the same input in one product.</summary>
    private (Tensor Query, Tensor Key, Tensor Value) Project(Tensor query, Tensor key, Tensor value)
    {
        bool shared = in_proj_weight is not null && ReferenceEquals(key, value);
        if (!shared)
            return (Projected(query, 0, 1), Projected(key, 1, 1), Projected(value, 2, 1));
        Tensor[] all = ReferenceEquals(query, key)
            ? Projected(query, 0, 3).chunk(3, -1)
            : [Projected(query, 0, 1), .. Projected(key, 1, 2).chunk(2, -1)];
        return (all[0], all[1], all[2]);
    }

    /// <summary>Projection <paramref name="first"/> (0: query, 1: key, 2: value) and so many after it.</summary>
    private Tensor Projected(Tensor x, int first, int count)
    {
        Parameter? separate = first switch { 0 => q_proj_weight, 1 => k_proj_weight, _ => v_proj_weight };
        return nn.functional.linear(x, separate ?? Rows(in_proj_weight)!, Rows(in_proj_bias));

        Tensor? Rows(Tensor? packed) => count == 3 ? packed : packed?.narrow(0, first * embedded_dim, count * embedded_dim);
    }

    /// <summary>An element [1, 1, E] after the last of every sequence.</summary>
    private Tensor Append(Tensor sequences, Tensor element)
    {
        long batch = sequences.size(BatchDim);
        return cat([sequences, batch_first ? element.expand(batch, 1, embedded_dim) : element.expand(1, batch, embedded_dim)], SequenceDim);
    }

    /// <summary>(L, N, E) or (N, L, E) to [N, H, L, d]: a view.</summary>
    private Tensor SplitHeads(Tensor x)
    {
        long[] shape = TensorMemory.Sizes(x);
        Tensor heads = x.view(shape[0], shape[1], num_heads, embedded_dim / num_heads);
        return batch_first ? heads.permute(0, 2, 1, 3) : heads.permute(1, 2, 0, 3);
    }

    /// <summary>[N, H, L, d] to (L, N, E) or (N, L, E): a view of what attention returns for operands that <see cref="SplitHeads"/> made.</summary>
    private Tensor MergeHeads(Tensor x)
    {
        long[] shape = TensorMemory.Sizes(x);
        return batch_first
            ? x.permute(0, 2, 1, 3).reshape(shape[0], shape[2], embedded_dim)
            : x.permute(2, 0, 1, 3).reshape(shape[2], shape[0], embedded_dim);
    }

    /// <summary>See <see cref="flash.nn.MultiheadAttention(TorchSharp.Modules.MultiheadAttention, long, double, bool, bool, bool, bool)"/>.</summary>
    internal static MultiheadAttention From(
        TorchSharp.Modules.MultiheadAttention module, long num_heads, double dropout, bool add_zero_attn, bool batch_first, bool is_causal, bool average_attn_weights)
    {
        ArgumentNullException.ThrowIfNull(module);
        Dictionary<string, Tensor> state = module.state_dict();
        Tensor output = state["out_proj.weight"];
        MultiheadAttention copy = new(
            output.shape[0],
            num_heads,
            dropout,
            bias: state.ContainsKey("in_proj_bias"),
            add_bias_kv: state.ContainsKey("bias_k"),
            add_zero_attn,
            kdim: state.TryGetValue("k_proj_weight", out Tensor? k) ? k.shape[1] : null,
            vdim: state.TryGetValue("v_proj_weight", out Tensor? v) ? v.shape[1] : null,
            batch_first,
            is_causal,
            average_attn_weights);
        copy.to(output.device, output.dtype);
        copy.load_state_dict(state);
        copy.train(module.training);
        return copy;
    }

    private static Parameter XavierUniform(long rows, long columns)
    {
        Parameter weight = new(empty(rows, columns));
        nn.init.xavier_uniform_(weight);
        return weight;
    }

    /// <summary>
    /// [1, 1, width] of variance 2 / (fan in + fan out), both of which are the width here. Not by TorchSharp's
    /// <c>init.xavier_normal_</c>, which draws from a uniform distribution.
    /// </summary>
    private static Parameter XavierNormal(long width)
    {
        Parameter element = new(empty(1, 1, width));
        nn.init.normal_(element, 0, Math.Sqrt(2.0 / (width + width)));
        return element;
    }

    /// <summary>Refuses inputs that do not fit, before anything is allocated.</summary>
    private MultiheadMasks Check(Tensor query, Tensor key, Tensor value, Tensor? key_padding_mask, Tensor? attn_mask)
    {
        CheckInput(query, embedded_dim, nameof(query));
        CheckInput(key, kdim, nameof(key));
        CheckInput(value, vdim, nameof(value));
        long batch = query.size(BatchDim), queryLength = query.size(SequenceDim), keyLength = key.size(SequenceDim);
        if (key.size(BatchDim) != batch)
            ArgumentChecks.Refuse(nameof(key), $"takes the batch size of query, {batch}", ArgumentChecks.Text(key.shape));
        if (value.size(BatchDim) != batch || value.size(SequenceDim) != keyLength)
            ArgumentChecks.Refuse(
                nameof(value), $"takes the batch size and length of key, {ArgumentChecks.Text(key.shape)}", ArgumentChecks.Text(value.shape));
        MultiheadMasks masks = new(key_padding_mask, attn_mask, is_causal, batch, num_heads, queryLength, keyLength);
        masks.Check(query);
        return masks;

        void CheckInput(Tensor input, long width, string name)
        {
            ArgumentChecks.Usable(input, name);
            if (input.dim() != 3 || input.size(2) != width)
                ArgumentChecks.Refuse(name, $"takes {(batch_first ? "(N, L, E)" : "(L, N, E)")} of width {width}", ArgumentChecks.Text(input.shape));
            ArgumentChecks.SameKind(input, out_proj.weight, name, "the module's parameters");
        }
    }
}
