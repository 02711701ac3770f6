using System.Runtime.InteropServices;

namespace TorchSharp;

public static partial class torch
{
    /// <summary>CUDA devices.</summary>
    public static unsafe partial class cuda
    {
        /// <summary>Whether this libtorch was built with CUDA and sees a GPU.</summary>
        public static bool is_available() => device_count() > 0;

        /// <summary>Whether cuDNN can be used.</summary>
        public static bool is_cudnn_available()
        {
            Bridge.HasCudnn(out long available);
            return available != 0;
        }

        /// <summary>The number of GPUs, 0 where this libtorch was built without CUDA.</summary>
        public static int device_count()
        {
            Bridge.CudaDevices(out long count);
            return (int)count;
        }

        /// <summary>Seeds the random numbers of the current GPU; of no effect where there is none.</summary>
        public static void manual_seed(long seed) => Seed(seed, all: false);

        /// <summary>Seeds the random numbers of all GPUs; of no effect where there is none.</summary>
        public static void manual_seed_all(long seed) => Seed(seed, all: true);

        /// <summary>Waits until a device, the current one by default, has done all that was asked of it.</summary>
        /// <exception cref="ExternalException">There is no such device, or one of its kernels failed.</exception>
        public static void synchronize(Device? device = null) => Bridge.CudaSynchronize(device?.index ?? -1);

        /// <summary>Bytes of tensors on a device, now and at most since <see cref="ResetPeakMemory"/>. libtorch 2.9 and later.</summary>
        internal static (long Allocated, long Peak) Memory(int device)
        {
            Bridge.CudaMemory(device, out long allocated, out long peak);
            return (allocated, peak);
        }

        /// <summary>From now on the peak counts anew.</summary>
        internal static void ResetPeakMemory(int device) => Bridge.CudaResetPeak(device);

        private static void Seed(long seed, bool all)
        {
            if (is_available())
            {
                Bridge.CudaSeed(all ? 1 : 0, (ulong)seed);
            }
        }
    }
}
