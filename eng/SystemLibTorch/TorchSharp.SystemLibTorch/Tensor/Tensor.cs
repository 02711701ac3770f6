using System.Runtime.InteropServices.Marshalling;

namespace TorchSharp;

public static partial class torch
{
    /// <summary>A tensor: a handle to an <c>at::Tensor</c> of libtorch.</summary>
    [NativeMarshalling(typeof(Bridge.TensorMarshaller))]
    public unsafe partial class Tensor : IDisposable
    {
        private static long _totalCount;
        private static long _peakCount;

        internal IntPtr handle;

        internal Tensor(IntPtr handle, bool register = true)
        {
            this.handle = handle;
            if (handle != IntPtr.Zero)
            {
                long total = Interlocked.Increment(ref _totalCount);
                _peakCount = Math.Max(_peakCount, total);
            }
            if (register)
            {
                OwningDisposeScope = DisposeScopeManager.ThreadSingleton.RegisterOnCurrentDisposeScope(this);
            }
        }

        /// <summary>Releases the native handle.</summary>
        ~Tensor() => Dispose(false);

        internal DisposeScope? OwningDisposeScope { get; set; }

        /// <summary>Live tensors of this process.</summary>
        public static long TotalCount => _totalCount;

        /// <summary>The most tensors that were live at a time.</summary>
        public static long PeakCount => _peakCount;

        /// <summary>A name for debugging.</summary>
        public string? name { get; set; }

        /// <summary>Whether the tensor has no native handle: disposed of, or an undefined gradient.</summary>
        public bool IsInvalid => handle == IntPtr.Zero;

        /// <summary>The <c>at::Tensor*</c>.</summary>
        /// <exception cref="InvalidOperationException">The tensor is invalid.</exception>
        public IntPtr Handle =>
            handle != IntPtr.Zero ? handle : throw new InvalidOperationException("Tensor invalid -- empty handle.");

        /// <summary>Takes ownership of an <c>at::Tensor*</c>.</summary>
        public static Tensor UnsafeCreateTensor(IntPtr handle) => new(handle);

        /// <summary>Gives up the native handle: the caller owns it now.</summary>
        public IntPtr DecoupleFromNativeHandle()
        {
            GC.SuppressFinalize(this);
            IntPtr owned = Handle;
            handle = IntPtr.Zero;
            Interlocked.Decrement(ref _totalCount);
            return owned;
        }

        /// <inheritdoc/>
        public void Dispose()
        {
            Dispose(true);
            GC.SuppressFinalize(this);
        }

        /// <summary>Releases the native handle.</summary>
        protected virtual void Dispose(bool disposing)
        {
            if (handle != IntPtr.Zero)
            {
                OwningDisposeScope?.MarkAsDisposed(this);
                Interlocked.Decrement(ref _totalCount);
                Bridge.Release(handle);
                handle = IntPtr.Zero;
            }
        }

        /// <summary>Moves the tensor to the scope outside the one it is in.</summary>
        public Tensor MoveToOuterDisposeScope()
        {
            OwningDisposeScope?.MoveToOuter(this);
            return this;
        }

        /// <summary>Takes the tensor out of its scope.</summary>
        public Tensor DetachFromDisposeScope()
        {
            OwningDisposeScope?.Detach(this);
            return this;
        }

        /// <summary>Moves the tensor to the scope of another one.</summary>
        public Tensor MoveToOtherDisposeScope(Tensor other) => MoveToOtherDisposeScope(other.OwningDisposeScope);

        /// <summary>Moves the tensor to another scope, out of any for null.</summary>
        public Tensor MoveToOtherDisposeScope(DisposeScope? other)
        {
            if (OwningDisposeScope is null)
            {
                other?.Attach(this);
            }
            else
            {
                OwningDisposeScope.MoveToOther(other, this);
            }
            return this;
        }

        /// <inheritdoc/>
        public override bool Equals(object? obj) => obj is Tensor other && Equals(other);

        /// <inheritdoc/>
        public override int GetHashCode() => base.GetHashCode();

        /// <summary>Number of dimensions.</summary>
        public long Dimensions => Bridge.Read(this, Bridge.Property.Dimensions);

        /// <summary>Number of dimensions.</summary>
        public long dim() => Dimensions;

        /// <summary>Number of dimensions.</summary>
        public long ndim => Dimensions;

        /// <summary>Number of elements.</summary>
        public long NumberOfElements => Bridge.Read(this, Bridge.Property.Elements);

        /// <summary>Number of elements.</summary>
        public long numel() => NumberOfElements;

        /// <summary>Bytes of one element.</summary>
        public long ElementSize => Bridge.Read(this, Bridge.Property.ElementSize);

        /// <summary>Bytes of one element.</summary>
        public long element_size() => ElementSize;

        /// <summary>Type of the elements.</summary>
        public ScalarType dtype => (ScalarType)Bridge.Read(this, Bridge.Property.ScalarType);

        /// <summary>Kind of the device the elements are on.</summary>
        public DeviceType device_type => (DeviceType)Bridge.Read(this, Bridge.Property.DeviceType);

        /// <summary>Index of the device the elements are on, -1 for the CPU.</summary>
        public int device_index => (int)Bridge.Read(this, Bridge.Property.DeviceIndex);

        /// <summary>The device the elements are on.</summary>
        public Device device => new(device_type, device_index);

        /// <summary>Whether the elements are on a CUDA device.</summary>
        public bool is_cuda => device_type == DeviceType.CUDA;

        /// <summary>Whether the elements are on the CPU.</summary>
        public bool is_cpu() => device_type == DeviceType.CPU;

        /// <summary>Whether the elements are integers or bool.</summary>
        public bool is_integral() => torch.is_integral(dtype);

        /// <summary>Whether the elements are real floating-point numbers.</summary>
        public bool is_floating_point() => torch.is_floating_point(dtype);

        /// <summary>Whether the elements are complex.</summary>
        public bool is_complex() => torch.is_complex(dtype);

        /// <summary>Elements between the start of the storage and the tensor's first one.</summary>
        public long storage_offset() => Bridge.Read(this, Bridge.Property.StorageOffset);

        /// <summary>Whether the elements lie one after another in row-major order.</summary>
        public bool is_contiguous() => Bridge.Read(this, Bridge.Property.IsContiguous) != 0;

        /// <summary>Size of each dimension.</summary>
        public long[] shape
        {
            get
            {
                var sizes = new long[Dimensions];
                fixed (long* first = sizes)
                {
                    Bridge.Sizes(this, first, sizes.Length);
                }
                return sizes;
            }
        }

        /// <summary>Size of each dimension.</summary>
        public long[] size() => shape;

        /// <summary>Size of one dimension; negative numbers count from the last.</summary>
        public long size(int dim) => Along(shape, dim, "size");

        /// <summary>Elements between neighbours along each dimension.</summary>
        public long[] stride()
        {
            var strides = new long[Dimensions];
            fixed (long* first = strides)
            {
                Bridge.Strides(this, first, strides.Length);
            }
            return strides;
        }

        /// <summary>Elements between neighbours along one dimension.</summary>
        public long stride(int dim) => Along(stride(), dim, "stride");

        // Asking a boxed operator takes five times as long; it says what is wrong with other dimensions.
        private long Along(long[] numbers, int dim, string name)
        {
            int index = dim < 0 ? dim + numbers.Length : dim;
            return (uint)index < (uint)numbers.Length ? numbers[index] : (long)Operator.CallNumber(name, "int", this, dim);
        }

        private Tensor Call(string name, string overload = "") => Operator.Call(name, overload, this);

        private Tensor InPlace(string name, string overload, params ReadOnlySpan<object?> arguments)
        {
            Operator.CallVoid(name, overload, [this, .. arguments]);
            return this;
        }
    }
}
