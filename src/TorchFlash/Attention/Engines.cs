using System.Collections.Concurrent;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Cuda;
using TorchSharp;

namespace TorchFlash.Attention;

/// <summary>Which engine works on which device. Nothing of CUDA is loaded before a CUDA tensor comes.</summary>
internal static class Engines
{
    private static readonly ConcurrentDictionary<DeviceType, IAttentionEngine> s_replaced = new();

    /// <summary>The engine for CPU tensors.</summary>
    public static CpuEngine Cpu
    {
        get => field ?? CpuEngine.Instance;
        set;
    }

    /// <summary>The engine for a device, if it takes a problem; null, with the reason, where there is none that does.</summary>
    public static IAttentionEngine? Taking(in AttentionProblem problem, DeviceType type, int index, out string? reason)
    {
        IAttentionEngine? engine = For(type, index, out string whyNone);
        reason = engine is null ? whyNone : engine.Refusal(problem);
        return reason is null ? engine : null;
    }

    /// <summary>The engine for a device; null, with the reason, where there is none.</summary>
    public static IAttentionEngine? For(DeviceType type, int index, out string reason)
    {
        reason = "";
        if (!s_replaced.IsEmpty && s_replaced.TryGetValue(type, out IAttentionEngine? replacement))
            return replacement;
        switch (type)
        {
            case DeviceType.CPU:
                return Cpu;
            case DeviceType.CUDA:
                return CudaEngine.TryGet(Math.Max(index, 0), out CudaEngine? engine, out reason) ? engine : null;
            default:
                reason = $"there is no engine for tensors on {type}";
                return null;
        }
    }

    /// <summary>Another engine for a kind of device, until the result is disposed: for tests, such as the CUDA engine on an emulated GPU.</summary>
    public static IDisposable Replace(DeviceType type, IAttentionEngine engine)
    {
        s_replaced[type] = engine;
        return new Replacement(type);
    }

    private sealed class Replacement(DeviceType type) : IDisposable
    {
        public void Dispose() => s_replaced.TryRemove(type, out _);
    }
}
