using static TorchSharp.torch;

namespace TorchSharp;

/// <summary>Conversions of a module that return it as its own type.</summary>
public static class ModuleExtensionMethods
{
    /// <summary>Converts the parameters and buffers.</summary>
    /// <typeparam name="T">The module's class.</typeparam>
    /// <param name="module">The module.</param>
    /// <param name="type">The target element type, a floating-point or complex one.</param>
    /// <param name="non_blocking">Whether a copy between devices may be asynchronous.</param>
    /// <returns>The module, whose parameters are new objects where they had to change.</returns>
    public static T to<T>(this T module, ScalarType type, bool non_blocking = false)
        where T : nn.Module => (T)module._to(type, non_blocking);

    /// <summary>Moves and converts the parameters and buffers.</summary>
    /// <typeparam name="T">The module's class.</typeparam>
    /// <param name="module">The module.</param>
    /// <param name="device">The target device.</param>
    /// <param name="type">The target element type, a floating-point or complex one.</param>
    /// <param name="non_blocking">Whether a copy between devices may be asynchronous.</param>
    /// <returns>The module.</returns>
    public static T to<T>(this T module, Device device, ScalarType type, bool non_blocking = false)
        where T : nn.Module => (T)module._to(device, type, non_blocking);

    /// <summary>Moves the parameters and buffers.</summary>
    /// <typeparam name="T">The module's class.</typeparam>
    /// <param name="module">The module.</param>
    /// <param name="deviceType">The kind of the target device.</param>
    /// <param name="deviceIndex">Its index, -1 for the current one.</param>
    /// <param name="non_blocking">Whether a copy between devices may be asynchronous.</param>
    /// <returns>The module.</returns>
    public static T to<T>(this T module, DeviceType deviceType, int deviceIndex = -1, bool non_blocking = false)
        where T : nn.Module => (T)module._to(deviceType, deviceIndex, non_blocking);

    /// <summary>Moves the parameters and buffers.</summary>
    /// <typeparam name="T">The module's class.</typeparam>
    /// <param name="module">The module.</param>
    /// <param name="device">The target device.</param>
    /// <param name="non_blocking">Whether a copy between devices may be asynchronous.</param>
    /// <returns>The module.</returns>
    public static T to<T>(this T module, Device device, bool non_blocking = false)
        where T : nn.Module => (T)module._to(device.type, device.index, non_blocking);

    /// <summary>Moves and converts the parameters and buffers to another tensor's device and element type.</summary>
    /// <typeparam name="T">The module's class.</typeparam>
    /// <param name="module">The module.</param>
    /// <param name="other">The tensor to follow.</param>
    /// <param name="non_blocking">Whether a copy between devices may be asynchronous.</param>
    /// <returns>The module.</returns>
    public static T to<T>(this T module, Tensor other, bool non_blocking = false)
        where T : nn.Module => (T)module._to(other.device, other.dtype, non_blocking);

    /// <summary>Moves the parameters and buffers to the CPU.</summary>
    /// <typeparam name="T">The module's class.</typeparam>
    /// <param name="module">The module.</param>
    /// <param name="non_blocking">Whether a copy between devices may be asynchronous.</param>
    /// <returns>The module.</returns>
    public static T cpu<T>(this T module, bool non_blocking = false)
        where T : nn.Module => (T)module._to(DeviceType.CPU, -1, non_blocking);

    /// <summary>Moves the parameters and buffers to a CUDA device.</summary>
    /// <typeparam name="T">The module's class.</typeparam>
    /// <param name="module">The module.</param>
    /// <param name="deviceIndex">Index of the device, -1 for the current one.</param>
    /// <param name="non_blocking">Whether a copy between devices may be asynchronous.</param>
    /// <returns>The module.</returns>
    public static T cuda<T>(this T module, int deviceIndex = -1, bool non_blocking = false)
        where T : nn.Module => (T)module._to(DeviceType.CUDA, deviceIndex, non_blocking);

    /// <summary>Converts the parameters and buffers to float32.</summary>
    /// <typeparam name="T">The module's class.</typeparam>
    /// <param name="module">The module.</param>
    /// <param name="non_blocking">Whether a copy between devices may be asynchronous.</param>
    /// <returns>The module.</returns>
    public static T @float<T>(this T module, bool non_blocking = false)
        where T : nn.Module => module.to(ScalarType.Float32, non_blocking);

    /// <summary>Converts the parameters and buffers to float64.</summary>
    /// <typeparam name="T">The module's class.</typeparam>
    /// <param name="module">The module.</param>
    /// <param name="non_blocking">Whether a copy between devices may be asynchronous.</param>
    /// <returns>The module.</returns>
    public static T @double<T>(this T module, bool non_blocking = false)
        where T : nn.Module => module.to(ScalarType.Float64, non_blocking);

    /// <summary>Converts the parameters and buffers to float16.</summary>
    /// <typeparam name="T">The module's class.</typeparam>
    /// <param name="module">The module.</param>
    /// <param name="non_blocking">Whether a copy between devices may be asynchronous.</param>
    /// <returns>The module.</returns>
    public static T half<T>(this T module, bool non_blocking = false)
        where T : nn.Module => module.to(ScalarType.Float16, non_blocking);

    /// <summary>Converts the parameters and buffers to bfloat16.</summary>
    /// <typeparam name="T">The module's class.</typeparam>
    /// <param name="module">The module.</param>
    /// <param name="non_blocking">Whether a copy between devices may be asynchronous.</param>
    /// <returns>The module.</returns>
    public static T bfloat16<T>(this T module, bool non_blocking = false)
        where T : nn.Module => module.to(ScalarType.BFloat16, non_blocking);
}
