using System.Text.Json.Serialization;
using TorchFlash.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionBench.Contestants;

/// <summary>Which pairs a mask leaves, beside causality and a window.</summary>
internal enum MaskKind
{
    None,

    /// <summary>Bool (B, 1, 1, Nk): three quarters of the keys are there.</summary>
    Padding,

    /// <summary>Bool (Nq, Nk): every other pair, in no order.</summary>
    Full,
}

/// <summary>What is added to the scores: (Nq, Nk).</summary>
internal enum BiasKind
{
    None,
    Constant,
    Gradient,
}

/// <summary>Which passes are timed.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<Pass>))]
internal enum Pass
{
    /// <summary>Nothing kept for a backward pass.</summary>
    Forward,

    /// <summary>The gradients alone, after a forward pass that is not timed.</summary>
    Backward,

    /// <summary>Forward pass and gradients.</summary>
    Both,
}

/// <summary>One problem of attention, whoever solves it.</summary>
internal sealed record AttentionCase
{
    public int Batch { get; init; } = 1;

    public int Heads { get; init; } = 12;

    /// <summary>Heads of K and V.</summary>
    public int KeyHeads { get; init; } = 12;

    public required int Queries { get; init; }

    public required int Keys { get; init; }

    public int Dim { get; init; } = 64;

    public int ValueDim { get; init; } = 64;

    public ElementType Type { get; init; }

    /// <summary>Top left.</summary>
    public bool Causal { get; init; }

    public MaskKind Mask { get; init; }

    public BiasKind Bias { get; init; }

    public double Dropout { get; init; }

    /// <summary>Keys i - Window &lt; j &lt;= i of query i; 0: all.</summary>
    public int Window { get; init; }

    [JsonIgnore]
    public ScalarType ScalarType => Type switch
    {
        ElementType.Float64 => ScalarType.Float64,
        ElementType.BFloat16 => ScalarType.BFloat16,
        ElementType.Float16 => ScalarType.Float16,
        _ => ScalarType.Float32,
    };

    /// <summary>Whether pairs are hidden in the triangle above the diagonal.</summary>
    [JsonIgnore]
    public bool IsTriangular => Causal || Window > 0;

    /// <summary>Pairs of a head that causality and window leave; masks are data, whose pairs count.</summary>
    [JsonIgnore]
    public double Pairs
    {
        get
        {
            if (!IsTriangular)
                return (double)Queries * Keys;
            double pairs = 0;
            for (int i = 0; i < Queries; i++)
                pairs += Math.Max(0, Math.Min(i + 1, Keys) - (Window > 0 ? Math.Max(0, i - Window + 1) : 0));
            return pairs;
        }
    }

    /// <summary>
    /// Floating point operations that a pass takes: two products of pairs forward, five backward with S recomputed.
    /// </summary>
    public double Flop(Pass pass)
    {
        double forward = 2 * (Dim + ValueDim), backward = 2 * (3 * Dim + 2 * ValueDim);
        return Batch * Heads * Pairs * pass switch
        {
            Pass.Forward => forward,
            Pass.Backward => backward,
            _ => forward + backward,
        };
    }

    /// <summary>What is done to the scores, in a few words.</summary>
    [JsonIgnore]
    public string Features
    {
        get
        {
            string[] parts =
            [
                .. Causal ? new[] { "causal" } : [],
                .. Window > 0 ? new[] { $"window of {Window}" } : [],
                .. Mask switch
                {
                    MaskKind.Padding => new[] { "key padding" },
                    MaskKind.Full => ["bool mask"],
                    _ => [],
                },
                .. Bias switch
                {
                    BiasKind.Constant => new[] { "bias" },
                    BiasKind.Gradient => ["bias with gradient"],
                    _ => [],
                },
                .. Dropout > 0 ? new[] { FormattableString.Invariant($"dropout {Dropout}") } : [],
            ];
            return parts.Length == 0 ? "full" : string.Join(", ", parts);
        }
    }

    /// <summary>All that every case of a table has in common.</summary>
    [JsonIgnore]
    public string Shape => $"B = {Batch}, H = {Heads}{(KeyHeads == Heads ? "" : $", {KeyHeads} key heads")}, d = {Dim}{(ValueDim == Dim ? "" : $", d_v = {ValueDim}")}, {Type.ToString().ToLowerInvariant()}";
}
