using TorchSharp;
using static TorchSharp.torch;

// Seeds, grad mode and counts of live native objects belong to the process.
[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace TorchSharpTests;

internal static class Support
{
    internal static float[] Values(this Tensor tensor) => tensor.data<float>().ToArray();

    /// <summary>Lets finalisers release every native handle that is unreachable.</summary>
    internal static void Collect()
    {
        for (int i = 0; i < 3; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
    }
}
