using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace TorchSharp;

/// <summary>The exports of eng/SystemLibTorch/native. Errors are UTF-8 messages, null for success.</summary>
internal static unsafe partial class Bridge
{
    /// <summary>The name of TorchSharp's own native library: code that looks up its exports finds the same ones here.</summary>
    private const string Library = "LibTorchSharp";

    /// <summary>One argument or result of a boxed call (see bridge.h).</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Value
    {
        public Tag Tag;
        public long Payload;
        public long Length;
    }

    internal enum Tag : long
    {
        None = 0,
        Tensor = 1,
        Integer = 2,
        Real = 3,
        Boolean = 4,
        String = 5,
        Device = 6,
        IntegerList = 7,
        RealList = 8,
        TensorList = 9,
        OptionalTensorList = 10,
        Generator = 11,
        BooleanList = 12,
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct Callbacks
    {
        public delegate* unmanaged<IntPtr, IntPtr, IntPtr, void> Forward;
        public delegate* unmanaged<IntPtr, IntPtr, IntPtr*, long, IntPtr, void> Backward;
        public delegate* unmanaged<IntPtr, void> Release;
    }

    /// <summary>Throws what TorchSharp throws for a native error, with the native message.</summary>
    /// <exception cref="ExternalException">The call failed.</exception>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Check(byte* error)
    {
        if (error is not null)
        {
            throw new ExternalException(Marshal.PtrToStringUTF8((IntPtr)error));
        }
    }

    [LibraryImport(Library, EntryPoint = "TorchBridge_find", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial byte* Find(string name, string overload, out IntPtr operation);

    [LibraryImport(Library, EntryPoint = "TorchBridge_call")]
    internal static partial byte* Call(IntPtr operation, Value* arguments, long count, Value** results, long* resultCount);

    [LibraryImport(Library, EntryPoint = "THSTensor_data")]
    internal static partial IntPtr Data(IntPtr tensor);

    [LibraryImport(Library, EntryPoint = "TorchBridge_release")]
    internal static partial void Release(IntPtr tensor);

    [LibraryImport(Library, EntryPoint = "TorchBridge_liveTensors")]
    internal static partial long LiveTensors();

    [LibraryImport(Library, EntryPoint = "TorchBridge_liveFunctions")]
    internal static partial long LiveFunctions();

    [LibraryImport(Library, EntryPoint = "TorchBridge_dim")]
    [SuppressGCTransition]
    internal static partial long Dim(IntPtr tensor);

    [LibraryImport(Library, EntryPoint = "TorchBridge_numel")]
    [SuppressGCTransition]
    internal static partial long Numel(IntPtr tensor);

    [LibraryImport(Library, EntryPoint = "TorchBridge_elementSize")]
    [SuppressGCTransition]
    internal static partial long ElementSize(IntPtr tensor);

    [LibraryImport(Library, EntryPoint = "TorchBridge_storageOffset")]
    [SuppressGCTransition]
    internal static partial long StorageOffset(IntPtr tensor);

    [LibraryImport(Library, EntryPoint = "TorchBridge_scalarType")]
    [SuppressGCTransition]
    internal static partial long ScalarType(IntPtr tensor);

    [LibraryImport(Library, EntryPoint = "TorchBridge_deviceType")]
    [SuppressGCTransition]
    internal static partial long DeviceType(IntPtr tensor);

    [LibraryImport(Library, EntryPoint = "TorchBridge_deviceIndex")]
    [SuppressGCTransition]
    internal static partial long DeviceIndex(IntPtr tensor);

    [LibraryImport(Library, EntryPoint = "TorchBridge_isContiguous")]
    [SuppressGCTransition]
    internal static partial long IsContiguous(IntPtr tensor);

    [LibraryImport(Library, EntryPoint = "TorchBridge_sizes")]
    [SuppressGCTransition]
    internal static partial void Sizes(IntPtr tensor, long* sizes);

    [LibraryImport(Library, EntryPoint = "TorchBridge_strides")]
    internal static partial byte* Strides(IntPtr tensor, long* strides);

    [LibraryImport(Library, EntryPoint = "TorchBridge_isGradEnabled")]
    internal static partial long IsGradEnabled();

    [LibraryImport(Library, EntryPoint = "TorchBridge_setGradEnabled")]
    internal static partial void SetGradEnabled(long enabled);

    /// <summary>libtorch's version, a constant of the library.</summary>
    [LibraryImport(Library, EntryPoint = "TorchBridge_version")]
    internal static partial byte* Version();

    [LibraryImport(Library, EntryPoint = "TorchBridge_getThreads")]
    internal static partial long GetThreads();

    [LibraryImport(Library, EntryPoint = "TorchBridge_setThreads")]
    internal static partial byte* SetThreads(long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_cudaDevices")]
    internal static partial long CudaDevices();

    [LibraryImport(Library, EntryPoint = "TorchBridge_hasCudnn")]
    internal static partial long HasCudnn();

    [LibraryImport(Library, EntryPoint = "TorchBridge_cudaSynchronize")]
    internal static partial byte* CudaSynchronize(long device);

    [LibraryImport(Library, EntryPoint = "TorchBridge_cudaSeed")]
    internal static partial byte* CudaSeed(long all, ulong seed);

    [LibraryImport(Library, EntryPoint = "TorchBridge_cudaMemory")]
    internal static partial byte* CudaMemory(long device, out long allocated, out long peak);

    [LibraryImport(Library, EntryPoint = "TorchBridge_cudaResetPeak")]
    internal static partial byte* CudaResetPeak(long device);

    [LibraryImport(Library, EntryPoint = "TorchBridge_defaultGenerator")]
    internal static partial byte* DefaultGenerator(out IntPtr generator);

    [LibraryImport(Library, EntryPoint = "TorchBridge_newGenerator")]
    internal static partial byte* NewGenerator(ulong seed, out IntPtr generator);

    [LibraryImport(Library, EntryPoint = "TorchBridge_releaseGenerator")]
    internal static partial void ReleaseGenerator(IntPtr generator);

    [LibraryImport(Library, EntryPoint = "TorchBridge_seedGenerator")]
    internal static partial byte* SeedGenerator(IntPtr generator, ulong seed);

    [LibraryImport(Library, EntryPoint = "TorchBridge_generatorSeed")]
    internal static partial byte* GeneratorSeed(IntPtr generator, out ulong seed);

    [LibraryImport(Library, EntryPoint = "TorchBridge_getGeneratorState")]
    internal static partial byte* GetGeneratorState(IntPtr generator, out IntPtr state);

    [LibraryImport(Library, EntryPoint = "TorchBridge_setGeneratorState")]
    internal static partial byte* SetGeneratorState(IntPtr generator, IntPtr state);

    [LibraryImport(Library, EntryPoint = "TorchBridge_setCallbacks")]
    internal static partial void SetCallbacks(Callbacks callbacks);

    [LibraryImport(Library, EntryPoint = "TorchBridge_emit")]
    internal static partial void Emit(IntPtr outcome, IntPtr tensor);

    [LibraryImport(Library, EntryPoint = "TorchBridge_fail", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial void Fail(IntPtr outcome, string message);

    [LibraryImport(Library, EntryPoint = "TorchBridge_apply")]
    internal static partial byte* Apply(
        IntPtr state, IntPtr* inputs, long count, IntPtr* outputs, long capacity, out long outputCount);

    [LibraryImport(Library, EntryPoint = "TorchBridge_contextSave")]
    internal static partial byte* ContextSave(IntPtr context, IntPtr* tensors, long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_contextSavedCount")]
    internal static partial byte* ContextSavedCount(IntPtr context, out long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_contextSaved")]
    internal static partial byte* ContextSaved(IntPtr context, IntPtr* tensors);

    [LibraryImport(Library, EntryPoint = "TorchBridge_contextMarkDirty")]
    internal static partial byte* ContextMarkDirty(IntPtr context, IntPtr* tensors, long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_contextMarkNonDifferentiable")]
    internal static partial byte* ContextMarkNonDifferentiable(IntPtr context, IntPtr* tensors, long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_contextMaterializeGradients")]
    internal static partial void ContextMaterializeGradients(IntPtr context, long value);

    [LibraryImport(Library, EntryPoint = "TorchBridge_requiresGrad")]
    internal static partial long RequiresGrad(IntPtr tensor);

    [LibraryImport(Library, EntryPoint = "TorchBridge_setRequiresGrad")]
    internal static partial byte* SetRequiresGrad(IntPtr tensor, long value);

    [LibraryImport(Library, EntryPoint = "TorchBridge_isLeaf")]
    internal static partial long IsLeaf(IntPtr tensor);

    [LibraryImport(Library, EntryPoint = "TorchBridge_grad")]
    internal static partial byte* Grad(IntPtr tensor, out IntPtr gradient);

    [LibraryImport(Library, EntryPoint = "TorchBridge_setGrad")]
    internal static partial byte* SetGrad(IntPtr tensor, IntPtr gradient);

    [LibraryImport(Library, EntryPoint = "TorchBridge_backward")]
    internal static partial byte* Backward(
        IntPtr* tensors, long count, IntPtr* gradients, long gradientCount, long retainGraph, long createGraph,
        IntPtr* inputs, long inputCount);

    [LibraryImport(Library, EntryPoint = "TorchBridge_gradients")]
    internal static partial byte* Gradients(
        IntPtr* outputs, long count, IntPtr* inputs, long inputCount, IntPtr* gradients, long gradientCount,
        long retainGraph, long createGraph, long allowUnused, IntPtr* results);
}
