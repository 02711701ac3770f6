namespace TorchFlash.Testing;

/// <summary>The emulated GPU (native/emulation) as a file: a library with the exports of the driver and of NVRTC.</summary>
internal static class EmulatedLibrary
{
    public static string Path => System.IO.Path.Combine(AppContext.BaseDirectory, "libtorchflash-emulation.so");

    /// <summary>Why there is none, for a skipped test; null where there is one.</summary>
    public static string? Missing => File.Exists(Path) ? null : "The emulated GPU was not built here: it needs Linux and g++.";
}
