using System.Reflection;
using TorchSharp.Modules;

namespace TorchSharp;

public static partial class torch
{
    public static partial class nn
    {
        // Conversion of the parameters and buffers to another device or element type.
        public partial class Module
        {
            /// <summary>Moves and converts the parameters and buffers.</summary>
            /// <param name="device">The target device.</param>
            /// <param name="dtype">The target element type, a floating-point or complex one.</param>
            /// <param name="non_blocking">Whether a copy between devices may be asynchronous.</param>
            /// <returns>This module.</returns>
            protected internal virtual Module _to(Device device, ScalarType dtype, bool non_blocking)
            {
                RequireFloatingPointOrComplex(dtype);
                _toEpilog(dtype, device, non_blocking);
                return this;
            }

            /// <summary>Moves the parameters and buffers.</summary>
            /// <param name="deviceType">The kind of the target device.</param>
            /// <param name="deviceIndex">Its index, -1 for the current one.</param>
            /// <param name="non_blocking">Whether a copy between devices may be asynchronous.</param>
            /// <returns>This module.</returns>
            protected internal virtual Module _to(DeviceType deviceType, int deviceIndex, bool non_blocking)
            {
                _toEpilog(null, new Device(deviceType, deviceIndex), non_blocking);
                return this;
            }

            /// <summary>Converts the parameters and buffers.</summary>
            /// <param name="dtype">The target element type, a floating-point or complex one.</param>
            /// <param name="non_blocking">Whether a copy between devices may be asynchronous.</param>
            /// <returns>This module.</returns>
            protected internal virtual Module _to(ScalarType dtype, bool non_blocking)
            {
                RequireFloatingPointOrComplex(dtype);
                _toEpilog(dtype, null, non_blocking);
                return this;
            }

            /// <summary>
            /// Converts the submodules, then puts converted tensors in the place of this module's own, in the register and
            /// in the property or field that holds them. Tensors that already are as asked for stay the same objects.
            /// </summary>
            /// <param name="dtype">The target element type, or null to keep it.</param>
            /// <param name="device">The target device, or null to keep it.</param>
            /// <param name="non_blocking">Whether a copy between devices may be asynchronous.</param>
            protected virtual void _toEpilog(ScalarType? dtype, Device? device, bool non_blocking)
            {
                foreach (var (_, child) in named_children())
                {
                    if (device is null) child._to(dtype!.Value, non_blocking);
                    else if (dtype is null) child._to(device.type, device.index, non_blocking);
                    else child._to(device, dtype.Value, non_blocking);
                }

                native?.To(dtype, device); // in place: nothing is left to convert below
                foreach (var (component, parameter) in named_parameters(false).ToList())
                {
                    if (!ReplaceParameter(dtype, device, parameter, out var converted)) continue;
                    SetMember(component, converted);
                    ConditionallyRegisterParameter(component, converted);
                    parameter.Dispose();
                }

                foreach (var (component, buffer) in named_buffers(false).ToList())
                {
                    if (!ReplaceBuffer(dtype, device, buffer, out var converted)) continue;
                    SetMember(component, converted);
                    ConditionallyRegisterBuffer(component, converted);
                }
            }

            /// <summary>Converts a buffer, if need be, and disposes the original. Integers keep their element type.</summary>
            /// <param name="dtype">The target element type, or null to keep it.</param>
            /// <param name="device">The target device, or null to keep it.</param>
            /// <param name="buffer">The buffer.</param>
            /// <param name="result">The converted buffer, or null if there is nothing to do.</param>
            /// <returns>Whether there was something to do.</returns>
            protected static bool ReplaceBuffer(ScalarType? dtype, Device? device, Tensor buffer, out Tensor? result)
            {
                result = null;
                var (type, target) = Target(dtype, device, buffer);
                if (type == buffer.dtype && IsOn(buffer, target)) return false;
                result = buffer.to(type, target).DetachFromDisposeScope();
                buffer.Dispose();
                return true;
            }

            /// <summary>Converts a parameter and its gradient, if need be. The original is left alone.</summary>
            /// <param name="dtype">The target element type, or null to keep it.</param>
            /// <param name="device">The target device, or null to keep it.</param>
            /// <param name="param">The parameter.</param>
            /// <param name="p">The converted parameter, a leaf of the graph, or null if there is nothing to do.</param>
            /// <returns>Whether there was something to do.</returns>
            protected static bool ReplaceParameter(ScalarType? dtype, Device? device, Parameter param, out Parameter? p)
            {
                p = null;
                var (type, target) = Target(dtype, device, param);
                if (type == param.dtype && IsOn(param, target)) return false;

                using var inference = no_grad();
                p = new Parameter(param.to(type, target), param.requires_grad);
                p.DetachFromDisposeScope();
                using var gradient = param.grad;
                if (gradient is not null)
                {
                    using var converted = gradient.to(type, target);
                    p.grad = converted;
                }

                return true;
            }

            private static (ScalarType Type, Device Device) Target(ScalarType? dtype, Device? device, Tensor tensor)
            {
                var converts = dtype.HasValue && IsFloatingPointOrComplex(tensor.dtype);
                return (converts ? dtype!.Value : tensor.dtype, device ?? tensor.device);
            }

            private static bool IsOn(Tensor tensor, Device device) =>
                tensor.device_type == device.type && (device.index < 0 || tensor.device_index == device.index);

            private static bool IsFloatingPointOrComplex(ScalarType type) => type is ScalarType.Float16 or ScalarType.BFloat16
                or ScalarType.Float32 or ScalarType.Float64 or ScalarType.ComplexFloat32 or ScalarType.ComplexFloat64;

            private static void RequireFloatingPointOrComplex(ScalarType dtype)
            {
                if (!IsFloatingPointOrComplex(dtype))
                {
                    throw new ArgumentException($"A module converts to floating-point or complex element types only, got {dtype}.", nameof(dtype));
                }
            }

            /// <summary>Stores a converted tensor where the derived class keeps it; the public property wins over the field.</summary>
            private void SetMember(string component, Tensor? value)
            {
                var property = GetType().GetProperty(component, BindingFlags.Instance | BindingFlags.Public);
                if (property is { CanWrite: true } && property.PropertyType.IsInstanceOfType(value)) property.SetValue(this, value);
                else FieldsOf(GetType()).FirstOrDefault(field => field.ComponentName() == component)?.SetValue(this, value);
            }
        }
    }
}
