using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace TorchSharp;

/// <summary>A module of libtorch's own C++ library. Its parameters are those of the managed module around it.</summary>
internal sealed unsafe class NativeModule : SafeHandle
{
    internal NativeModule(IntPtr module)
        : base(IntPtr.Zero, true)
    {
        SetHandle(module);
    }

    public override bool IsInvalid => handle == IntPtr.Zero;

    internal void Train(bool on) => Bridge.ModuleTrain(this, on ? 1 : 0);

    /// <summary>Converts the parameters in place: their handles stay.</summary>
    internal void To(ScalarType? type, Device? device) =>
        Bridge.ModuleTo(this, (long?)type ?? -1, (long?)device?.type ?? -1, device?.index ?? -1);

    internal IEnumerable<(string Name, Modules.Parameter Parameter)> Parameters()
    {
        List<(string, Modules.Parameter)> parameters = [];
        while (true)
        {
            Bridge.ModuleParameter(this, parameters.Count, out var name, out var parameter);
            if (parameter == IntPtr.Zero) return parameters;
            parameters.Add((Marshal.PtrToStringUTF8((IntPtr)name)!, new Modules.Parameter(parameter)));
        }
    }

    protected override bool ReleaseHandle()
    {
        Bridge.ModuleRelease(handle);
        return true;
    }
}

internal static unsafe partial class Bridge
{
    [LibraryImport(Library, EntryPoint = "TorchBridge_moduleRelease")]
    internal static partial Outcome ModuleRelease(IntPtr module);

    [LibraryImport(Library, EntryPoint = "TorchBridge_moduleTrain")]
    internal static partial Outcome ModuleTrain(NativeModule module, long on);

    [LibraryImport(Library, EntryPoint = "TorchBridge_moduleTo")]
    internal static partial Outcome ModuleTo(NativeModule module, long type, long deviceType, long deviceIndex);

    [LibraryImport(Library, EntryPoint = "TorchBridge_moduleParameter")]
    internal static partial Outcome ModuleParameter(NativeModule module, long index, out byte* name, out IntPtr parameter);
}
