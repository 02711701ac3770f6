using System.Runtime.CompilerServices;

namespace TorchSharp;

public static partial class torch
{
    public unsafe partial class Tensor
    {
        /// <summary>The elements as .NET values, read and written in place (a copy for tensors on other devices).</summary>
        /// <exception cref="ArgumentException"><typeparamref name="T"/> does not fit the element type.</exception>
        public Utils.TensorAccessor<T> data<T>()
            where T : unmanaged
        {
            Type expected = ElementType(dtype);
            if (typeof(T) != expected)
            {
                throw new ArgumentException($"{typeof(T).Name} is not compatible with {dtype}");
            }
            return new Utils.TensorAccessor<T>(device_type == DeviceType.CPU ? this : cpu());
        }

        /// <summary>The one element of the tensor.</summary>
        /// <exception cref="ArgumentException">The tensor has not one element, or not of this type.</exception>
        public T item<T>()
            where T : unmanaged =>
            NumberOfElements == 1 ? data<T>()[0] : throw new ArgumentException("Number of elements in the tensor must be 1");

        /// <summary>The one element of the tensor.</summary>
        public Scalar ToScalar()
        {
            object number = Operator.CallNumber("item", "", this);
            return number switch
            {
                long integer => integer.ToScalar(),
                bool boolean => boolean.ToScalar(),
                double real => real.ToScalar(),
                _ => throw new NotSupportedException($"element type {dtype}"),
            };
        }

        /// <summary>The bytes of a contiguous tensor on the CPU, in place.</summary>
        /// <exception cref="InvalidOperationException">The tensor is not contiguous or not on the CPU.</exception>
        /// <exception cref="ArgumentException">It has more bytes than a span can, or not those of the value.</exception>
        public Span<byte> bytes
        {
            get
            {
                long length = ValidatedBytes();
                return length <= int.MaxValue
                    ? new Span<byte>((void*)Bridge.Data(this), (int)length)
                    : throw new ArgumentException("Span only supports up to int.MaxValue elements.");
            }

            set
            {
                if (ValidatedBytes() != value.Length)
                {
                    throw new ArgumentException("Mismatched data sizes in SetBytes().");
                }
                value.CopyTo(new Span<byte>((void*)Bridge.Data(this), value.Length));
                GC.KeepAlive(this);
            }
        }

        /// <summary>Writes the bytes of a contiguous tensor.</summary>
        public void WriteBytesToStream(Stream stream, int bufferSize = 1024)
        {
            using UnmanagedMemoryStream source = Bytes(FileAccess.Read);
            source.CopyTo(stream, bufferSize);
            GC.KeepAlive(this);
        }

        /// <summary>Reads the bytes of a contiguous tensor.</summary>
        /// <exception cref="EndOfStreamException">The stream has fewer.</exception>
        public void ReadBytesFromStream(Stream stream, int bufferSize = 1024)
        {
            ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bufferSize);
            long left = ValidatedBytes();
            byte* target = (byte*)Bridge.Data(this);
            while (left > 0)
            {
                int count = (int)Math.Min(left, bufferSize);
                stream.ReadExactly(new Span<byte>(target, count));
                target += count;
                left -= count;
            }
            GC.KeepAlive(this);
        }

        /// <summary>Copies the elements of another tensor into this one.</summary>
        public Tensor copy_(Tensor source, bool nonBlocking = false) => InPlace("copy_", "", source, nonBlocking);

        /// <summary>Sets all elements.</summary>
        public Tensor fill_(Scalar value) => InPlace("fill_", "Scalar", value);

        /// <summary>Sets all elements to zero.</summary>
        public Tensor zero_() => InPlace("zero_", "");

        /// <inheritdoc/>
        public override string ToString() =>
            $"[{string.Join('x', shape)}], type = {dtype}, device = {device}";

        internal static Type ElementType(ScalarType type) => type switch
        {
            ScalarType.Byte => typeof(byte),
            ScalarType.Int8 => typeof(sbyte),
            ScalarType.Int16 => typeof(short),
            ScalarType.Int32 => typeof(int),
            ScalarType.Int64 => typeof(long),
            ScalarType.Bool => typeof(bool),
            ScalarType.Float16 => typeof(Half),
            ScalarType.Float32 => typeof(float),
            ScalarType.Float64 => typeof(double),
            _ => throw new ArgumentException($"No support for {type} in TorchSharp"),
        };

        private UnmanagedMemoryStream Bytes(FileAccess access)
        {
            long length = ValidatedBytes();
            return new UnmanagedMemoryStream((byte*)Bridge.Data(this), length, length, access);
        }

        private long ValidatedBytes()
        {
            if (!is_contiguous())
            {
                throw new InvalidOperationException("Bytes() called on non-contiguous tensor.");
            }
            if (device_type != DeviceType.CPU)
            {
                throw new InvalidOperationException("Reading data from non-CPU memory is not supported. Move or copy the tensor to the cpu before reading.");
            }
            return NumberOfElements * ElementSize;
        }
    }

    /// <inheritdoc cref="Tensor.numel"/>
    public static long numel(Tensor input) => input.numel();
}
