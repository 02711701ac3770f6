using System.Runtime.CompilerServices;
using TorchSharp;

// Torch's random generator, its thread count and its count of living tensors belong to the whole process.
[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace Gpt2.Tests;

internal static class AssemblyInfo
{
    // The models of these tests are too small for two threads: on a busy machine they would mostly wait for each other.
    [ModuleInitializer]
    internal static void UseOneThread() => torch.set_num_threads(1);
}
