using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cpu.Scores;

/// <summary>What a tile program does.</summary>
internal enum ScorePass
{
    /// <summary>Forward, keys x queries: from raw products to modified scores.</summary>
    Modify,

    /// <summary>Backward, queries x keys: from raw products to modified scores.</summary>
    ModifyAgain,

    /// <summary>The same, and the raw products become d(modified score)/d(raw product * scale).</summary>
    ModifyWithDerivative,

    /// <summary>Backward, queries x keys: raw products and the gradient of modified scores become that of raw * scale, and captured tensors receive theirs.</summary>
    Gradient,
}
