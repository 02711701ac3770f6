namespace TorchFlash;

public static partial class flash
{
    private static volatile bool s_deterministic;

    /// <summary>
    /// Whether passes from now on must give the same bits whenever they are repeated. The CPU engine always does so. The CUDA engine sums
    /// dQ of float16 and bfloat16 in the order in which tiles happen to end, unless this is on: then a kernel of its own computes dQ, in
    /// more time. A backward pass takes what holds when it runs. PyTorch's name; TorchSharp does not implement it.
    /// </summary>
    /// <param name="mode">On or off.</param>
    public static void use_deterministic_algorithms(bool mode = true) => s_deterministic = mode;

    /// <summary>What <see cref="use_deterministic_algorithms"/> has set, false at first.</summary>
    public static bool are_deterministic_algorithms_enabled() => s_deterministic;
}
