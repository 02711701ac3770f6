using System.Runtime.CompilerServices;

namespace TorchFlash.Kernels;

/// <summary>How the JIT is to treat methods with loops over registers.</summary>
internal static class Jit
{
    /// <summary>
    /// Fully optimised at the first call, and by itself: at a call that its profile says is hot the JIT would inline a method of a kilobyte, find that the
    /// budget for what is inlined in there is used up, and call every operation over registers: a softmax in an eighth of its speed, in some runs.
    /// </summary>
    public const MethodImplOptions Alone = MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining;
}
