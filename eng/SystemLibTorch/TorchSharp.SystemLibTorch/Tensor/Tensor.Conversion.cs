namespace TorchSharp;

public static partial class torch
{
    public partial class Tensor
    {
        /// <summary>The elements in another type; the tensor itself (a new handle to it) if it has that type already.</summary>
        public Tensor to_type(ScalarType type, bool copy = false, bool disposeAfter = false, bool non_blocking = false) =>
            Replacing(Operator.Call("to", "dtype", this, type, non_blocking, copy), disposeAfter);

        /// <summary>The elements in another type.</summary>
        public Tensor to(ScalarType type, bool copy = false, bool disposeAfter = false, bool non_blocking = false) =>
            to_type(type, copy, disposeAfter, non_blocking);

        /// <summary>The elements on another device.</summary>
        public Tensor to(DeviceType deviceType, int deviceIndex = -1, bool copy = false, bool disposeAfter = false, bool non_blocking = false)
        {
            InitializeDeviceType(deviceType);
            return Replacing(
                Operator.Call("to", "device", this, new Device(deviceType, deviceIndex), dtype, non_blocking, copy), disposeAfter);
        }

        /// <summary>The elements on another device.</summary>
        public Tensor to(Device device, bool copy = false, bool disposeAfter = false, bool non_blocking = false) =>
            to(device.type, device.index, copy, disposeAfter, non_blocking);

        /// <summary>The elements on another device.</summary>
        public Tensor to(string device, bool copy = false, bool disposeAfter = false, bool non_blocking = false) =>
            to(new Device(device), copy, disposeAfter, non_blocking);

        /// <summary>The elements in another type on another device.</summary>
        public Tensor to(ScalarType type, Device device, bool copy = false, bool disposeAfter = false, bool non_blocking = false)
        {
            InitializeDeviceType(device.type);
            return Replacing(Operator.Call("to", "device", this, device, type, non_blocking, copy), disposeAfter);
        }

        /// <summary>The elements in the type and on the device of another tensor.</summary>
        public Tensor to(Tensor other, bool non_blocking = false) => to(other.dtype, other.device, non_blocking);

        /// <summary>The elements in the type of another tensor.</summary>
        public Tensor type_as(Tensor tensor) => to_type(tensor.dtype);

        /// <summary>The elements on the CPU.</summary>
        public Tensor cpu() => to(DeviceType.CPU);

        /// <summary>The elements on a CUDA device.</summary>
        public Tensor cuda(Device? device = null, bool non_blocking = false) => to(device ?? CUDA, non_blocking: non_blocking);

        /// <summary>As bool.</summary>
        public Tensor @bool() => to_type(ScalarType.Bool);

        /// <summary>As 8-bit unsigned integers.</summary>
        public Tensor @byte() => to_type(ScalarType.Byte);

        /// <summary>As 16-bit integers.</summary>
        public Tensor @short() => to_type(ScalarType.Int16);

        /// <summary>As 32-bit integers.</summary>
        public Tensor @int() => to_type(ScalarType.Int32);

        /// <summary>As 64-bit integers.</summary>
        public Tensor @long() => to_type(ScalarType.Int64);

        /// <summary>In half precision.</summary>
        public Tensor half() => to_type(ScalarType.Float16);

        /// <summary>As bfloat16.</summary>
        public Tensor bfloat16() => to_type(ScalarType.BFloat16);

        /// <summary>In single precision.</summary>
        public Tensor @float() => to_type(ScalarType.Float32);

        /// <summary>In double precision.</summary>
        public Tensor @double() => to_type(ScalarType.Float64);

        /// <summary>The one element of the tensor.</summary>
        public static explicit operator float(Tensor value) => value.ToSingle();

        /// <summary>The one element of the tensor.</summary>
        public static explicit operator double(Tensor value) => value.ToDouble();

        /// <summary>The one element of the tensor.</summary>
        public static explicit operator int(Tensor value) => value.ToInt32();

        /// <summary>The one element of the tensor.</summary>
        public static explicit operator long(Tensor value) => value.ToInt64();

        /// <summary>The one element of the tensor.</summary>
        public static explicit operator bool(Tensor value) => value.ToBoolean();

        private Tensor Replacing(Tensor result, bool disposeThis)
        {
            if (disposeThis)
            {
                Dispose();
            }
            return result;
        }
    }
}
