using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.InteropServices.Marshalling;
using static TorchSharp.torch;

namespace TorchSharp;

/// <summary>
/// The exports of eng/SystemLibTorch/native. Nobody has to remember a check: their return type throws what went wrong, and
/// a parameter of type <see cref="Tensor"/> or <see cref="Generator"/> refuses a disposed one and holds it during the call.
/// </summary>
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
        ScalarType = 13,
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct Callbacks
    {
        public delegate* unmanaged<IntPtr, IntPtr, IntPtr, void> Forward;
        public delegate* unmanaged<IntPtr, IntPtr, IntPtr*, long, IntPtr, void> Backward;
        public delegate* unmanaged<IntPtr, void> Release;
    }

    /// <summary>The numbers of a tensor that <see cref="Read(Tensor, Property)"/> reads (see bridge.cpp).</summary>
    internal enum Property : long
    {
        Dimensions = 0,
        Elements = 1,
        ElementSize = 2,
        StorageOffset = 3,
        ScalarType = 4,
        DeviceType = 5,
        DeviceIndex = 6,
        IsContiguous = 7,
        RequiresGrad = 8,
        IsLeaf = 9,
    }

    /// <summary>How an export ended: it is not returned at all if that was with an error.</summary>
    [NativeMarshalling(typeof(OutcomeMarshaller))]
    internal readonly struct Outcome;

    /// <summary>Throws what TorchSharp throws for a native error, with the native message.</summary>
    [CustomMarshaller(typeof(Outcome), MarshalMode.ManagedToUnmanagedOut, typeof(OutcomeMarshaller))]
    internal static class OutcomeMarshaller
    {
        public static Outcome ConvertToManaged(byte* error) =>
            error is null ? default : throw new ExternalException(Marshal.PtrToStringUTF8((IntPtr)error));
    }

    /// <summary>
    /// A call whose counterpart in TorchSharp's native code catches nothing: what libtorch throws there ends the process
    /// (std::terminate), and so it does here, after the message. What managed code finds out before is thrown as elsewhere.
    /// </summary>
    internal static T Uncaught<T>(Func<T> call)
    {
        try
        {
            return call();
        }
        catch (ExternalException exception)
        {
            Environment.FailFast($"TorchSharp's native code does not catch this: {exception.Message}", exception);
            throw;
        }
    }

    [CustomMarshaller(typeof(Tensor), MarshalMode.ManagedToUnmanagedIn, typeof(TensorMarshaller))]
    internal ref struct TensorMarshaller
    {
        private Tensor _tensor;

        public void FromManaged(Tensor tensor) => _tensor = tensor;

        public readonly IntPtr ToUnmanaged() => _tensor.Handle;

        public readonly void Free() => GC.KeepAlive(_tensor);
    }

    [CustomMarshaller(typeof(Generator), MarshalMode.ManagedToUnmanagedIn, typeof(GeneratorMarshaller))]
    internal ref struct GeneratorMarshaller
    {
        private Generator _generator;

        public void FromManaged(Generator generator) => _generator = generator;

        public readonly IntPtr ToUnmanaged() => _generator.LiveHandle;

        public readonly void Free() => GC.KeepAlive(_generator);
    }

    internal static long Read(Tensor tensor, Property property)
    {
        Read(tensor, property, out long value);
        return value;
    }

    internal static long LiveTensors()
    {
        LiveTensors(out long count);
        return count;
    }

    internal static long LiveFunctions()
    {
        LiveFunctions(out long count);
        return count;
    }

    [LibraryImport(Library, EntryPoint = "TorchBridge_find", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial Outcome Find(string name, string overload, out IntPtr operation);

    [LibraryImport(Library, EntryPoint = "TorchBridge_call")]
    internal static partial Outcome Call(IntPtr operation, Value* arguments, long count, Value** results, long* resultCount);

    [LibraryImport(Library, EntryPoint = "THSTensor_data")]
    internal static partial IntPtr Data(Tensor tensor);

    [LibraryImport(Library, EntryPoint = "TorchBridge_release")]
    internal static partial Outcome Release(IntPtr tensor);

    [LibraryImport(Library, EntryPoint = "TorchBridge_liveTensors")]
    private static partial Outcome LiveTensors(out long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_liveFunctions")]
    private static partial Outcome LiveFunctions(out long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_read")]
    [SuppressGCTransition]
    private static partial Outcome Read(Tensor tensor, Property property, out long value);

    [LibraryImport(Library, EntryPoint = "TorchBridge_sizes")]
    [SuppressGCTransition]
    internal static partial Outcome Sizes(Tensor tensor, long* sizes, long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_strides")]
    internal static partial Outcome Strides(Tensor tensor, long* strides, long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_isGradEnabled")]
    internal static partial Outcome IsGradEnabled(out long enabled);

    [LibraryImport(Library, EntryPoint = "TorchBridge_setGradEnabled")]
    internal static partial Outcome SetGradEnabled(long enabled);

    [LibraryImport(Library, EntryPoint = "TorchBridge_version")]
    internal static partial Outcome Version(out byte* version);

    [LibraryImport(Library, EntryPoint = "TorchBridge_getThreads")]
    internal static partial Outcome GetThreads(out long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_setThreads")]
    internal static partial Outcome SetThreads(long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_cudaDevices")]
    internal static partial Outcome CudaDevices(out long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_hasCudnn")]
    internal static partial Outcome HasCudnn(out long available);

    [LibraryImport(Library, EntryPoint = "TorchBridge_cudaSynchronize")]
    internal static partial Outcome CudaSynchronize(long device);

    [LibraryImport(Library, EntryPoint = "TorchBridge_cudaSeed")]
    internal static partial Outcome CudaSeed(long all, ulong seed);

    [LibraryImport(Library, EntryPoint = "TorchBridge_cudaMemory")]
    internal static partial Outcome CudaMemory(long device, out long allocated, out long peak);

    [LibraryImport(Library, EntryPoint = "TorchBridge_cudaResetPeak")]
    internal static partial Outcome CudaResetPeak(long device);

    [LibraryImport(Library, EntryPoint = "TorchBridge_defaultGenerator")]
    internal static partial Outcome DefaultGenerator(out IntPtr generator);

    [LibraryImport(Library, EntryPoint = "TorchBridge_newGenerator")]
    internal static partial Outcome NewGenerator(ulong seed, out IntPtr generator);

    [LibraryImport(Library, EntryPoint = "TorchBridge_releaseGenerator")]
    internal static partial Outcome ReleaseGenerator(IntPtr generator);

    [LibraryImport(Library, EntryPoint = "TorchBridge_seedGenerator")]
    internal static partial Outcome SeedGenerator(Generator generator, ulong seed);

    [LibraryImport(Library, EntryPoint = "TorchBridge_generatorSeed")]
    internal static partial Outcome GeneratorSeed(Generator generator, out ulong seed);

    [LibraryImport(Library, EntryPoint = "TorchBridge_getGeneratorState")]
    internal static partial Outcome GetGeneratorState(Generator generator, out IntPtr state);

    [LibraryImport(Library, EntryPoint = "TorchBridge_setGeneratorState")]
    internal static partial Outcome SetGeneratorState(Generator generator, Tensor state);

    [LibraryImport(Library, EntryPoint = "TorchBridge_setCallbacks")]
    internal static partial Outcome SetCallbacks(Callbacks* callbacks);

    [LibraryImport(Library, EntryPoint = "TorchBridge_emit")]
    internal static partial Outcome Emit(IntPtr outcome, IntPtr tensor);

    [LibraryImport(Library, EntryPoint = "TorchBridge_fail", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial Outcome Fail(IntPtr outcome, string message);

    [LibraryImport(Library, EntryPoint = "TorchBridge_apply")]
    internal static partial Outcome Apply(
        IntPtr state, IntPtr* inputs, long count, IntPtr* outputs, long capacity, out long outputCount);

    [LibraryImport(Library, EntryPoint = "TorchBridge_contextSave")]
    internal static partial Outcome ContextSave(IntPtr context, IntPtr* tensors, long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_contextSavedCount")]
    internal static partial Outcome ContextSavedCount(IntPtr context, out long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_contextSaved")]
    internal static partial Outcome ContextSaved(IntPtr context, IntPtr* tensors, long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_contextMarkDirty")]
    internal static partial Outcome ContextMarkDirty(IntPtr context, IntPtr* tensors, long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_contextMarkNonDifferentiable")]
    internal static partial Outcome ContextMarkNonDifferentiable(IntPtr context, IntPtr* tensors, long count);

    [LibraryImport(Library, EntryPoint = "TorchBridge_setRequiresGrad")]
    internal static partial Outcome SetRequiresGrad(Tensor tensor, long value);

    [LibraryImport(Library, EntryPoint = "TorchBridge_grad")]
    internal static partial Outcome Grad(Tensor tensor, out IntPtr gradient);

    [LibraryImport(Library, EntryPoint = "TorchBridge_setGrad")]
    internal static partial Outcome SetGrad(Tensor tensor, IntPtr gradient);

    [LibraryImport(Library, EntryPoint = "TorchBridge_backward")]
    internal static partial Outcome Backward(
        IntPtr* tensors, long count, IntPtr* gradients, long gradientCount, long retainGraph, long createGraph,
        IntPtr* inputs, long inputCount);

    [LibraryImport(Library, EntryPoint = "TorchBridge_gradients")]
    internal static partial Outcome Gradients(
        IntPtr* outputs, long count, IntPtr* inputs, long inputCount, IntPtr* gradients, long gradientCount,
        long retainGraph, long createGraph, long allowUnused, IntPtr* results);
}
