using TorchFlash.Arguments;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Scores;
using static TorchSharp.torch;

namespace TorchFlash.Attention;

/// <summary>The tensors that an attention reads.</summary>
/// <param name="query">Q, [B, H, Nq, d].</param>
/// <param name="key">K, [B, key heads, Nk, d].</param>
/// <param name="value">V, [B, key heads, Nk, d_v].</param>
/// <param name="captured">Those that the program captured, in its order.</param>
/// <param name="sinks">The score of every head's sink, [H], contiguous and of the type that is computed in.</param>
internal sealed class AttentionOperands(Tensor query, Tensor key, Tensor value, Tensor[]? captured = null, Tensor? sinks = null)
{
    public Tensor Query => query;

    public Tensor Key => key;

    public Tensor Value => value;

    public Tensor[] Captured { get; } = captured ?? [];

    public Tensor? Sinks => sinks;

    /// <summary>All of them: query, key, value, what was captured, sinks.</summary>
    public Tensor[] ToArray() => sinks is null ? [query, key, value, .. Captured] : [query, key, value, .. Captured, sinks];

    /// <summary>The same, with query, key and value as engines can read them: see <see cref="TensorMemory.Readable"/>.</summary>
    public AttentionOperands Readable() => new(TensorMemory.Readable(query), TensorMemory.Readable(key), TensorMemory.Readable(value), Captured, sinks);

    /// <summary>What <see cref="ToArray"/> gave, and what follows it.</summary>
    public static AttentionOperands From(ReadOnlySpan<Tensor> all, in AttentionProblem problem)
    {
        int captured = problem.Score?.Tensors.Count ?? 0;
        return new(all[0], all[1], all[2], [.. all.Slice(3, captured)], problem.HasSinks ? all[3 + captured] : null);
    }

    /// <summary>The type that engines compute in for operands of a type.</summary>
    public static ScalarType Computed(ScalarType type) => type == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;

    /// <summary>The tensors of a program as its engines read them, converted by the graph where they are of another type.</summary>
    /// <exception cref="ArgumentException">One of them is not there any more, or not where <paramref name="query"/> is.</exception>
    public static Tensor[] Bound(ScoreProgram? score, Tensor query) => score is null ? [] : [.. score.Tensors.Select(captured =>
    {
        if (captured.Source is not Tensor tensor)
            throw ArgumentChecks.Refusal(nameof(score), $"takes {captured.Name} as flash.reals, flash.ints or flash.bools make it", captured.Source ?? "null");
        if (tensor.IsInvalid)
            ArgumentChecks.Refuse(nameof(score), $"reads the tensor {captured.Name}", "one that has been disposed");
        if (tensor.device_type != query.device_type || tensor.device_index != query.device_index)
            ArgumentChecks.Refuse(nameof(score), $"reads {captured.Name}, which must be on the device of query, {query.device}", tensor.device);
        long[] sizes = TensorMemory.Sizes(tensor);
        if (!sizes.SequenceEqual(captured.Shape.Select(size => (long)size)))
            ArgumentChecks.Refuse(nameof(score), $"reads {captured.Name}, which had the shape [{string.Join(", ", captured.Shape)}] when it was captured", ArgumentChecks.Text(sizes));
        ScalarType type = captured.Kind switch { ScoreKind.Real => Computed(query.dtype), ScoreKind.Int => ScalarType.Int64, _ => ScalarType.Bool };
        return tensor.dtype == type ? tensor : tensor.to(type);
    })];
}
