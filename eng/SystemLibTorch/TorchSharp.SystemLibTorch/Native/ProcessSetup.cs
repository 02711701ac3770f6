using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace TorchSharp;

/// <summary>What the process must be told before it loads libtorch.</summary>
internal static partial class ProcessSetup
{
    private const string UcxSignals = "UCX_ERROR_SIGNALS";

    /// <summary>
    /// Debian's libtorch 2 brings UCX along, which takes SIGSEGV over when it is loaded: the .NET runtime never sees it
    /// again, and every <see cref="NullReferenceException"/> ends the process. An empty list of signals leaves them alone.
    /// UCX reads the C environment, which .NET does not write to.
    /// </summary>
#pragma warning disable CA2255 // Whatever is used first may load libtorch; there is no other place before all of it.
    [ModuleInitializer]
    internal static void LeaveSignalsToTheRuntime()
#pragma warning restore CA2255
    {
        if (OperatingSystem.IsLinux() && SetVariable(UcxSignals, Environment.GetEnvironmentVariable(UcxSignals) ?? "", overwrite: 1) != 0)
        {
            throw new InvalidOperationException($"{UcxSignals} could not be set");
        }
    }

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetVariable(string name, string value, int overwrite);
}
