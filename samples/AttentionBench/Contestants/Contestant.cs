using AttentionBench.Engine;
using AttentionBench.Measuring;
using TorchFlash.Kernels;

namespace AttentionBench.Contestants;

/// <summary>What is compared: one way to compute attention.</summary>
/// <param name="Name">As in the tables.</param>
/// <param name="Baseline">Whom its times are compared with; its own name for those that others are compared with.</param>
internal sealed record Contestant(string Name, string Baseline)
{
    public const string Flash = "flash", Sdpa = "sdpa", Naive = "naive", FlashModule = "flash mha", TorchModule = "torch mha";

    public static IReadOnlyList<Contestant> All { get; } = [new(Flash, Flash), new(Sdpa, Flash), new(Naive, Flash), new(FlashModule, FlashModule), new(TorchModule, FlashModule)];

    public static Contestant Named(string name) => All.Single(c => c.Name == name);

    /// <summary>With its projections, against other modules; otherwise softmax(Q Kᵀ) V alone.</summary>
    public bool IsModule => Name is FlashModule or TorchModule;

    /// <summary>Why it has no such thing; null where it has.</summary>
    public string? Refusal(AttentionCase c) => !IsModule ? null
        : c.KeyHeads != c.Heads || c.ValueDim != c.Dim ? "modules have as many key heads as heads, and one head dimension"
        : c.Window > 0 || c.Bias == BiasKind.Gradient ? "modules take neither windows nor biases with gradients"
        : null;

    /// <summary>Bytes that forward and backward together need at least: P and dP, the product they come from and its gradient, where it holds such matrices.</summary>
    public double ScoreBytes(AttentionCase c)
    {
        bool stores = Name switch
        {
            Naive or TorchModule => true,
            Sdpa => !Machine.HasFusedAttention || c.Dropout > 0 || c.Bias == BiasKind.Gradient,
            _ => false,
        };
        return stores ? 4.0 * c.Type.Bytes() * c.Batch * c.Heads * c.Queries * c.Keys : 0;
    }
}
