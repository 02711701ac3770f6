namespace TorchSharp;

public static partial class torch
{
    /// <summary>A device: its type and, for GPUs, its index (-1 for the current one).</summary>
    public class Device
    {
        /// <summary>The kind of device.</summary>
        public DeviceType type { get; private set; } = DeviceType.CPU;

        /// <summary>The device's number among its kind, -1 for the current one.</summary>
        public int index { get; private set; } = -1;

        /// <summary>Reads "cpu", "cuda" or "cuda:1".</summary>
        public Device(string description)
        {
            string[] parts = description.Split(':');
            type = Enum.Parse<DeviceType>(parts[0], ignoreCase: true);
            index = parts.Length > 1 ? int.Parse(parts[1]) : -1;
        }

        /// <summary>A device by the name of its kind and its index.</summary>
        public Device(string deviceType, int index = -1)
        {
            type = Enum.Parse<DeviceType>(deviceType, ignoreCase: true);
            this.index = index;
        }

        /// <summary>A device by its kind and index.</summary>
        public Device(DeviceType deviceType, int index = -1)
        {
            type = deviceType;
            this.index = index;
        }

        /// <summary>The CUDA device of that index.</summary>
        public Device(int index)
        {
            type = DeviceType.CUDA;
            this.index = index;
        }

        /// <inheritdoc/>
        public override string ToString()
        {
            string name = type.ToString().ToLowerInvariant();
            return type == DeviceType.CPU || index == -1 ? name : $"{name}:{index}";
        }

        /// <summary>Reads "cpu", "cuda" or "cuda:1".</summary>
        public static implicit operator Device(string description) => new(description);
    }

    /// <summary>The processor.</summary>
    public static readonly Device CPU = new(DeviceType.CPU);

    /// <summary>Shapes without data.</summary>
    public static readonly Device META = new(DeviceType.META);

    private static Device? _cuda;

    /// <summary>The current CUDA device.</summary>
    public static Device CUDA => _cuda ??= InitializeDevice(new Device(DeviceType.CUDA));

    /// <summary>Reads "cpu", "cuda" or "cuda:1".</summary>
    public static Device device(string description) => InitializeDevice(new Device(description));

    /// <summary>A device by the name of its kind and its index.</summary>
    public static Device device(string deviceType, int index = -1) => InitializeDevice(new Device(deviceType, index));

    /// <summary>A device by its kind and index.</summary>
    public static Device device(DeviceType deviceType, int index = -1) => InitializeDevice(new Device(deviceType, index));

    /// <summary>The CUDA device of that index.</summary>
    public static Device device(int index) => new(DeviceType.CUDA, index);

    /// <summary>Checks that this libtorch can use a kind of device.</summary>
    /// <exception cref="InvalidOperationException">It cannot.</exception>
    public static void InitializeDeviceType(DeviceType deviceType)
    {
        if (!TryInitializeDeviceType(deviceType))
        {
            throw new InvalidOperationException($"Torch device type {deviceType} did not initialise on the current machine.");
        }
    }

    /// <summary>Whether this libtorch can use a kind of device.</summary>
    public static bool TryInitializeDeviceType(DeviceType deviceType) => deviceType switch
    {
        DeviceType.CUDA => cuda.is_available(),
        DeviceType.MPS => false,
        _ => true,
    };

    /// <summary>The device itself, the default one for null, after <see cref="InitializeDeviceType"/>.</summary>
    public static Device InitializeDevice(Device? device)
    {
        device ??= get_default_device();
        InitializeDeviceType(device.type);
        return device;
    }

    /// <summary>As <see cref="cuda.is_available"/>.</summary>
    public static bool cuda_is_available() => cuda.is_available();
}
