using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>A problem with all its operands in the memory of an emulated device.</summary>
internal sealed class GpuCase(int device, AttentionProblem problem, Layout inputs = Layout.Contiguous, Layout outputs = Layout.Contiguous, int seed = 1,
    double amplitude = 1, double shift = 0, ScoreOptions? scores = null)
    : DeviceCase(EmulatedDevices.Memory(device), problem, inputs, outputs, seed, amplitude, shift, scores)
{
    private readonly int _device = device;

    /// <summary>Runs passes and holds what they wrote against the reference; nothing else may have been written.</summary>
    public static void Check(int device, AttentionProblem problem, Passes passes = Passes.Forward | Passes.Backward, Layout inputs = Layout.Contiguous,
        Layout outputs = Layout.Contiguous, bool deterministic = false, KernelTuning? tuning = null, KernelSources? sources = null,
        int seed = 1, double amplitude = 1, double shift = 0, ScoreOptions? scores = null)
    {
        using var attention = new GpuCase(device, problem, inputs, outputs, seed, amplitude, shift, scores);
        attention.Run(EmulatedDevices.Engine(device, tuning, sources), passes, deterministic).AssertResults(passes);
    }

    public override string ToString() => $"{base.ToString()} on device {_device}";
}
