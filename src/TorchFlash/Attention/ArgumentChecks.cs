using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels;
using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>Refuses arguments that do not fit, before any work is done: which argument, what it got, what it takes.</summary>
internal static class ArgumentChecks
{
    /// <summary>The sizes of a scaled dot product attention, if its arguments fit.</summary>
    public static AttentionShape Attention(
        Tensor query, Tensor key, Tensor value, Tensor? mask, double p, double? scale, CausalAlignment alignment, bool enableGqa)
    {
        Usable(query);
        Usable(key);
        Usable(value);
        FloatingPoint(query);
        SameKind(key, query);
        SameKind(value, query);
        long[] q = query.shape, k = key.shape, v = value.shape;
        Operand(q, nameof(query), "N, d");
        Operand(k, nameof(key), "N, d");
        Operand(v, nameof(value), "N, d_v");
        if (k[^1] != q[^1])
            Refuse(nameof(key), $"takes the head dimension of query, {q[^1]}", Text(k));
        if (v[^2] != k[^2])
            Refuse(nameof(value), $"takes one row for each of the {k[^2]} keys", Text(v));
        long? keyHeads = enableGqa ? GroupedHeads(q, k, v) : null;
        int heads = enableGqa ? 1 : 0; // Grouped heads do not broadcast; what is left of them does.
        if (!TryBroadcast(q.AsSpan()[..^(2 + heads)], k.AsSpan()[..^(2 + heads)], out long[]? leading))
            Refuse(nameof(key), $"takes leading dimensions that broadcast with those of query, {Text(q)}{(GroupsOf(q, k) ? ", or a group of query heads for each of its own with enable_gqa" : "")}", Text(k));
        if (!TryBroadcast(leading, v.AsSpan()[..^(2 + heads)], out leading))
            Refuse(nameof(value), $"takes leading dimensions that broadcast with those of query, {Text(q)}, and key, {Text(k)}", Text(v));
        if (enableGqa)
            leading = [.. leading, q[^3]];

        if (mask is not null)
            Mask(mask, "attn_mask", query, [.. leading, q[^2], k[^2]]);
        Probability(p);
        if (scale is { } factor && !double.IsFinite(factor))
            Refuse(nameof(scale), "takes a finite number, or null for 1 / sqrt(d)", factor);
        if (!Enum.IsDefined(alignment))
            Refuse("causal_alignment", "takes a value of CausalAlignment", alignment);
        return new AttentionShape(leading, keyHeads, q[^2], k[^2], q[^1], v[^1]);
    }

    /// <summary>The heads of key and value, among which those of query are shared out evenly.</summary>
    private static long GroupedHeads(long[] query, long[] key, long[] value)
    {
        GroupedOperand(query, nameof(query));
        GroupedOperand(key, nameof(key));
        GroupedOperand(value, nameof(value));
        if (key[^3] != query[^3] && !GroupsOf(query, key))
            Refuse(nameof(key), $"takes a number of heads that divides that of query, {query[^3]}, with enable_gqa", Text(key));
        if (value[^3] != key[^3])
            Refuse(nameof(value), $"takes as many heads as key, {key[^3]}, with enable_gqa", Text(value));
        return key[^3];

        static void GroupedOperand(long[] shape, string name)
        {
            if (shape.Length < 3)
                Refuse(name, "takes (..., H, N, d) with enable_gqa", Text(shape));
        }
    }

    /// <summary>Whether every head of key can have the same number of heads of query, two or more.</summary>
    private static bool GroupsOf(long[] query, long[] key) =>
        query.Length > 2 && key.Length > 2 && key[^3] > 0 && query[^3] > key[^3] && query[^3] % key[^3] == 0;

    /// <summary>The engines' word for a causal option.</summary>
    public static CausalMask CausalMask(bool isCausal, CausalAlignment alignment) => (isCausal, alignment) switch
    {
        (false, _) => Kernels.CausalMask.None,
        (_, CausalAlignment.TopLeft) => Kernels.CausalMask.TopLeft,
        _ => Kernels.CausalMask.BottomRight,
    };

    /// <summary>Neither null nor disposed.</summary>
    public static void Usable([NotNull] Tensor? tensor, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        if (tensor.IsInvalid)
            Refuse(name, "takes a tensor", "one that has been disposed");
    }

    /// <summary>Of a type that a softmax can be computed in.</summary>
    public static void FloatingPoint(Tensor tensor, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        if (tensor.dtype is not (ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Float32 or ScalarType.Float64))
            Refuse(name, "takes Float32, Float64, Float16 or BFloat16", tensor.dtype);
    }

    /// <summary>Of the type and on the device of another argument.</summary>
    public static void SameKind(
        Tensor tensor,
        Tensor other,
        [CallerArgumentExpression(nameof(tensor))] string name = "",
        [CallerArgumentExpression(nameof(other))] string otherName = "")
    {
        if (tensor.dtype != other.dtype)
            Refuse(name, $"takes the type of {otherName}, {other.dtype}", tensor.dtype);
        if (tensor.device_type != other.device_type || tensor.device_index != other.device_index)
            Refuse(name, $"takes a tensor on the device of {otherName}, {other.device}", tensor.device);
    }

    /// <summary>A probability.</summary>
    public static void Probability(double p, [CallerArgumentExpression(nameof(p))] string name = "")
    {
        if (!(p is >= 0 and <= 1))
            Refuse(name, "takes a probability, 0 to 1", p);
    }

    /// <summary>A size that a head can have.</summary>
    public static void HeadDimension(long size, [CallerArgumentExpression(nameof(size))] string name = "")
    {
        if (size is < 1 or > Kernels.AttentionProblem.MaxHeadDim)
            Refuse(name, $"takes 1 to {Kernels.AttentionProblem.MaxHeadDim}", size);
    }

    /// <summary>Bool or of the type of query, and no larger than what it is applied to.</summary>
    private static void Mask(Tensor mask, string name, Tensor query, long[] scores)
    {
        Usable(mask, name);
        if (mask.dtype != ScalarType.Bool && mask.dtype != query.dtype)
            Refuse(name, $"takes Bool (true = may attend) or the type of query, {query.dtype} (added to the scores)", mask.dtype);
        if (mask.device_type != query.device_type || mask.device_index != query.device_index)
            Refuse(name, $"takes a tensor on the device of query, {query.device}", mask.device);
        if (!TryBroadcast(mask.shape, scores, out long[]? both) || !both.AsSpan().SequenceEqual(scores))
            Refuse(name, $"takes a shape that broadcasts to (..., Nq, Nk) = {Text(scores)}", Text(mask.shape));
    }

    private static void Operand(long[] shape, string name, string dimensions)
    {
        if (shape.Length < 2)
            Refuse(name, $"takes (..., {dimensions})", Text(shape));
        if (shape[^1] < 1)
            Refuse(name, "takes a head dimension of 1 or more", Text(shape));
        if (shape.Any(size => size > int.MaxValue))
            Refuse(name, $"takes sizes up to {int.MaxValue}", Text(shape));
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

    /// <summary>A shape as people write it.</summary>
    public static string Text(long[] shape) => $"[{string.Join(", ", shape)}]";

    /// <summary>The one form of every refusal.</summary>
    [DoesNotReturn]
    public static void Refuse(string name, string takes, object? got) =>
        throw new ArgumentException(FormattableString.Invariant($"{name} {takes}; it got {got}."), name);
}
