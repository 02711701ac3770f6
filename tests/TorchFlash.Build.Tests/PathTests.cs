using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace TorchFlash.Build.Tests;

/// <summary>Every path reaches the programs whole, whatever characters it has.</summary>
[UnsupportedOSPlatform("windows")]
public sealed class PathTests
{
    [LinuxTheory]
    [InlineData("eng/SystemLibTorch/native", "libLibTorchSharp.so")]
    [InlineData("native/emulation", "libtorchflash-emulation.so")]
    public void NativeBuildScript(string folder, string library)
    {
        using ScratchCheckout checkout = new();
        string source = checkout.PathOf("source"), libTorch = checkout.PathOf("lib torch"), log = checkout.PathOf("log"), output = checkout.PathOf("out", library);
        Directory.CreateDirectory(source);
        Directory.CreateDirectory(log);
        File.Copy(Repository.PathOf(folder, "build.sh"), Path.Combine(source, "build.sh"));
        File.WriteAllText(Path.Combine(source, "one.cpp"), "");
        File.WriteAllText(Path.Combine(source, "two.cpp"), "");
        Directory.CreateDirectory(Path.Combine(libTorch, "lib"));
        File.WriteAllText(Path.Combine(libTorch, "lib", "libc10.so"), "");
        Directory.CreateDirectory(Path.Combine(libTorch, "include", "ATen"));
        File.WriteAllText(Path.Combine(libTorch, "include", "ATen", "ATen.h"), "");
        checkout.WriteCommand("g++", """
            printf '%s\n' "$@" > "$LOG/$$"
            while [ "$1" != -o ]; do shift; done
            : > "$2"
            """);

        checkout.Run(["sh", Path.Combine(source, "build.sh"), output], ("LIBTORCH_DIR", libTorch), ("LOG", log));

        Assert.Equal([library, library + ".lock"], Directory.EnumerateFileSystemEntries(checkout.PathOf("out")).Select(Path.GetFileName).Order());
        var calls = Directory.EnumerateFiles(log).Select(File.ReadAllLines).ToList();
        Assert.Equal(3, calls.Count);
        Assert.All(calls.SelectMany(call => call), argument => Assert.False(argument.StartsWith("'b'", StringComparison.Ordinal), $"A path was split: {argument}"));
        if (folder.StartsWith("eng", StringComparison.Ordinal))
        {
            Assert.Equal(2, calls.Count(call => call.Contains(Path.Combine(libTorch, "include"))));
            Assert.Single(calls, call => call.Contains("-L" + Path.Combine(libTorch, "lib")) && call.Contains(Path.Combine(libTorch, "lib")));
        }
    }

    [AptFact]
    public void DownloadOfTheRunTimeCompiler()
    {
        using ScratchCheckout checkout = new();
        checkout.WriteCommand("apt-get", """
            case $* in
              *indextargets*) echo 'Debian|Debian|http://mirror.invalid/debian' ;;
              *download*) : > one.deb; : > two.deb ;;
            esac
            """);
        checkout.WriteCommand("dpkg-deb", """mkdir -p "$3/usr/lib" && cp "$2" "$3/usr/lib/libnvrtc.so.12" """);

        string output = checkout.Run(["./build.sh", "nvrtc"]);

        Assert.Equal($"nvrtc: {checkout.PathOf("artifacts", "nvrtc", "root", "usr", "lib", "libnvrtc.so.12")}\n", output);
    }

    private sealed class AptFactAttribute : FactAttribute
    {
        public AptFactAttribute() =>
            Skip = OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64 && File.Exists(NvrtcDownload.Keys) ? null
                : "the packages are Debian's for x86-64, verified by the keys of a Debian system";
    }
}
