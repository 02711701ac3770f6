using System.Diagnostics.CodeAnalysis;
using TorchFlash.Attention;
using static TorchFlash.Arguments.ArgumentChecks;
using static TorchSharp.torch;

namespace TorchFlash.Arguments;

/// <summary>
/// The sizes of an attention whose operands have any number of leading dimensions, and the way between those and the four
/// dimensions [B, H, N, d] that everything below works on.
/// </summary>
internal sealed class AttentionShape
{
    private readonly long[] _leading; // Those of query, key and value, broadcast together; with grouped heads those of query.
    private readonly long[] _keyLeading; // The same but for the heads of key and value, where they are grouped.
    private readonly long[] _query, _key, _value;

    /// <summary>The sizes of checked tensors.</summary>
    /// <exception cref="ArgumentException">They do not fit each other.</exception>
    public AttentionShape(Tensor query, Tensor key, Tensor value, bool enable_gqa)
    {
        Usable(query);
        Usable(key);
        Usable(value);
        FloatingPoint(query);
        SameKind(key, query);
        SameKind(value, query);
        long[] q = _query = TensorMemory.Sizes(query), k = _key = TensorMemory.Sizes(key), v = _value = TensorMemory.Sizes(value);
        string heads = enable_gqa ? "H, " : "";
        Operand(q, nameof(query), "d");
        Operand(k, nameof(key), "d");
        Operand(v, nameof(value), "d_v");
        if (k[^1] != q[^1])
            Refuse(nameof(key), $"takes the head dimension of query, {q[^1]}", Text(k));
        if (v[^2] != k[^2])
            Refuse(nameof(value), $"takes one row for each of the {k[^2]} keys", Text(v));

        bool groups = q.Length > 2 && k.Length > 2 && k[^3] > 0 && q[^3] > k[^3] && q[^3] % k[^3] == 0;
        if (enable_gqa && k[^3] != q[^3] && !groups)
            Refuse(nameof(key), $"takes a number of heads that divides that of query, {q[^3]}, with enable_gqa", Text(k));
        if (enable_gqa && v[^3] != k[^3])
            Refuse(nameof(value), $"takes as many heads as key, {k[^3]}, with enable_gqa", Text(v));
        int own = enable_gqa ? 3 : 2; // Grouped heads do not broadcast; what is left of them does.
        if (!TryBroadcast(q.AsSpan()[..^own], k.AsSpan()[..^own], out long[]? leading))
            Refuse(nameof(key), $"takes leading dimensions that broadcast with those of query, {Text(q)}{(groups ? ", or a group of query heads for each of its own with enable_gqa" : "")}", Text(k));
        if (!TryBroadcast(leading, v.AsSpan()[..^own], out leading))
            Refuse(nameof(value), $"takes leading dimensions that broadcast with those of query, {Text(q)}, and key, {Text(k)}", Text(v));
        _leading = enable_gqa ? [.. leading, q[^3]] : leading;
        _keyLeading = enable_gqa ? [.. leading, k[^3]] : leading;

        void Operand(long[] shape, string name, string width)
        {
            if (shape.Length < (enable_gqa ? 3 : 2))
                Refuse(name, $"takes (..., {heads}N, {width}){(enable_gqa ? " with enable_gqa" : "")}", Text(shape));
            if (shape[^1] < 1)
                Refuse(name, "takes a head dimension of 1 or more", Text(shape));
            if (Array.Exists(shape, size => size > int.MaxValue))
                Refuse(name, $"takes sizes up to {int.MaxValue}", Text(shape));
        }
    }

    /// <summary>Query as [B, H, Nq, d]: a view where strides allow one, which is always so for up to four dimensions.</summary>
    public Tensor Query(Tensor query) => ToFourDimensions(query, _query, _leading);

    /// <summary>Key as [B, key heads, Nk, d]: a view as <see cref="Query"/> is.</summary>
    public Tensor Key(Tensor key) => ToFourDimensions(key, _key, _keyLeading);

    /// <summary>Value as [B, key heads, Nk, d_v]: a view as <see cref="Query"/> is.</summary>
    public Tensor Value(Tensor value) => ToFourDimensions(value, _value, _keyLeading);

    /// <summary>A mask that broadcasts to [B, H, Nq, Nk], if it is Bool or of the type of query and broadcasts to (..., Nq, Nk).</summary>
    public Tensor Mask(Tensor attn_mask, Tensor query)
    {
        Usable(attn_mask);
        if (attn_mask.dtype != ScalarType.Bool && attn_mask.dtype != query.dtype)
            Refuse(nameof(attn_mask), $"takes Bool (true = may attend) or the type of query, {query.dtype} (added to the scores)", attn_mask.dtype);
        SameDevice(attn_mask, query, nameof(attn_mask));
        long[] shape = TensorMemory.Sizes(attn_mask), scores = [.. _leading, _query[^2], _key[^2]];
        if (!TryBroadcast(shape, scores, out long[]? both) || !both.AsSpan().SequenceEqual(scores))
            Refuse(nameof(attn_mask), $"takes a shape that broadcasts to (..., Nq, Nk) = {Text(scores)}", Text(shape));
        if (shape.Length == 0)
            return attn_mask.unsqueeze(0);
        // Up to three dimensions broadcast from the right as they are.
        return shape.Length <= 3 || _leading.Length <= 2 ? attn_mask : ToFourDimensions(attn_mask, shape, _leading);
    }

    /// <summary>[B, H, Nq, d_v] to (..., Nq, d_v).</summary>
    public Tensor Output(Tensor output) => _leading.Length == 2 ? output : output.reshape([.. _leading, _query[^2], _value[^1]]);

    /// <summary>[B, H, Nq] to (..., Nq).</summary>
    public Tensor Rows(Tensor rows) => _leading.Length == 2 ? rows : rows.reshape([.. _leading, _query[^2]]);

    /// <summary>Refuses what is not one number for every head of query.</summary>
    public void CheckSinks(Tensor sinks, Tensor query)
    {
        Usable(sinks);
        FloatingPoint(sinks);
        SameDevice(sinks, query, nameof(sinks));
        long heads = _leading.Length == 0 ? 1 : _leading[^1];
        if (sinks.dim() != 1 || sinks.size(0) != heads)
            Refuse(nameof(sinks), $"takes [H] = [{heads}]", Text(TensorMemory.Sizes(sinks)));
    }

    private static Tensor ToFourDimensions(Tensor operand, long[] shape, long[] leading)
    {
        if (!shape.AsSpan()[..^2].SequenceEqual(leading))
            operand = operand.expand([.. leading, shape[^2], shape[^1]]);
        return leading.Length switch
        {
            0 => operand.unsqueeze(0).unsqueeze(0),
            1 => operand.unsqueeze(0),
            2 => operand,
            _ => operand.reshape(leading[..^1].Aggregate(1L, (a, b) => a * b), leading[^1], shape[^2], shape[^1]),
        };
    }

    private static bool TryBroadcast(ReadOnlySpan<long> a, ReadOnlySpan<long> b, [NotNullWhen(true)] out long[]? both)
    {
        both = new long[Math.Max(a.Length, b.Length)];
        for (int i = 1; i <= both.Length; i++)
        {
            long x = i <= a.Length ? a[^i] : 1, y = i <= b.Length ? b[^i] : 1;
            if (x != y && x != 1 && y != 1)
            {
                both = null;
                return false;
            }
            both[^i] = x == 1 ? y : x;
        }
        return true;
    }
}
