using System.Runtime.InteropServices.Marshalling;

namespace TorchSharp;

public static partial class torch
{
    /// <summary>A source of random numbers.</summary>
    [NativeMarshalling(typeof(Bridge.GeneratorMarshaller))]
    public class Generator : IDisposable
    {
        private Generator(IntPtr nativeHandle)
        {
            Handle = nativeHandle;
            device = CPU;
        }

        /// <summary>A generator of its own on the CPU.</summary>
        /// <exception cref="NotSupportedException"><paramref name="device"/> is not the CPU.</exception>
        public Generator(ulong seed = 0, Device? device = null)
        {
            if (device is not null && device.type != DeviceType.CPU)
            {
                throw new NotSupportedException($"generators of device {device} are not supported by the SystemLibTorch provider");
            }
            Bridge.NewGenerator(seed, out IntPtr handle);
            Handle = handle;
            this.device = CPU;
        }

        /// <summary>The default CPU generator.</summary>
        public static Generator Default
        {
            get
            {
                Bridge.DefaultGenerator(out IntPtr handle);
                return new Generator(handle);
            }
        }

        /// <summary>The <c>at::Generator*</c>; 0 once disposed of.</summary>
        public IntPtr Handle { get; private set; }

        internal IntPtr LiveHandle
        {
            get
            {
                ObjectDisposedException.ThrowIf(Handle == IntPtr.Zero, this);
                return Handle;
            }
        }

        /// <summary>The device whose random numbers these are.</summary>
        public Device device { get; private set; }

        /// <summary>The state as a tensor of bytes.</summary>
        public Tensor get_state()
        {
            Bridge.GetGeneratorState(this, out IntPtr state);
            return new Tensor(state);
        }

        /// <summary>Continues from a state that <see cref="get_state"/> returned.</summary>
        /// <remarks>What is no such state ends the process, as in TorchSharp, whose native code catches nothing here.</remarks>
        public void set_state(Tensor value) => Bridge.Uncaught(() => Bridge.SetGeneratorState(this, value));

        /// <summary>Starts the sequence of that seed.</summary>
        public Generator manual_seed(long seed)
        {
            Bridge.SeedGenerator(this, (ulong)seed);
            return this;
        }

        /// <summary>Starts the sequence of a seed taken from the clock, and returns the seed.</summary>
        public long seed()
        {
            long seed = DateTime.UtcNow.Ticks;
            manual_seed(seed);
            return seed;
        }

        /// <summary>The seed this sequence was started with.</summary>
        public long initial_seed()
        {
            Bridge.GeneratorSeed(this, out ulong seed);
            return (long)seed;
        }

        /// <summary>Releases the native generator.</summary>
        protected virtual void Dispose(bool disposing)
        {
            if (Handle != IntPtr.Zero)
            {
                Bridge.ReleaseGenerator(Handle);
                Handle = IntPtr.Zero;
            }
        }

        /// <summary>Releases the native generator.</summary>
        ~Generator() => Dispose(false);

        /// <inheritdoc/>
        public void Dispose()
        {
            Dispose(true);
            GC.SuppressFinalize(this);
        }
    }

    /// <summary>The default generator.</summary>
    public static partial class random
    {
        /// <summary>Seeds the default generator from the clock.</summary>
        public static long seed() => Generator.Default.seed();

        /// <summary>The seed of the default generator.</summary>
        public static long initial_seed() => Generator.Default.initial_seed();

        /// <summary>Seeds the default generator and returns it.</summary>
        public static Generator manual_seed(long seed) => Generator.Default.manual_seed(seed);

        /// <summary>The default generator's state.</summary>
        public static Tensor get_rng_state() => Generator.Default.get_state();

        /// <summary>Sets the default generator's state.</summary>
        public static void set_rng_state(Tensor new_state) => Generator.Default.set_state(new_state);
    }

    /// <inheritdoc cref="random.seed"/>
    public static long seed() => random.seed();

    /// <inheritdoc cref="random.manual_seed"/>
    public static Generator manual_seed(long seed) => random.manual_seed(seed);

    /// <inheritdoc cref="random.initial_seed"/>
    public static long initial_seed() => random.initial_seed();

    /// <inheritdoc cref="random.get_rng_state"/>
    public static Tensor get_rng_state() => random.get_rng_state();

    /// <inheritdoc cref="random.set_rng_state"/>
    public static void set_rng_state(Tensor new_state) => random.set_rng_state(new_state);
}
