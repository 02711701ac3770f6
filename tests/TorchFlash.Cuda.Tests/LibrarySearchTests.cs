using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Files;

namespace TorchFlash.Cuda.Tests;

/// <summary>Driver and NVRTC are looked for in the right places, in the right order, and what was tried is told.</summary>
public sealed class LibrarySearchTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void NamedLibrariesAreTheOnlyOnes()
    {
        LibrarySearch search = Search(variables: [(LibrarySearch.DriverVariable, "/a/libcuda.so"), (LibrarySearch.NvrtcVariable, "/b/libnvrtc.so")]);
        Assert.Equal(["/a/libcuda.so"], search.Driver().Select(c => c.Path));
        Assert.Equal(["/b/libnvrtc.so"], search.Nvrtc().Select(c => c.Path));
    }

    [Fact]
    public void NamedFolder()
    {
        string file = _folder.Touch("libnvrtc.so.12");
        Assert.Equal([file], Search(variables: (LibrarySearch.NvrtcVariable, _folder.Path)).Nvrtc().Select(c => c.Path));
    }

    [Fact]
    public void HashedNamesBesideLibTorch()
    {
        string torch = _folder.Touch("torch", "lib", "libtorch_cuda.so"), nvrtc = _folder.Touch("torch", "lib", "libnvrtc-b51b459d.so.12");
        _folder.Touch("torch", "lib", "libnvrtc-builtins-6c5639ce.so.12.1");
        _folder.Touch("torch", "lib", "libcaffe2_nvrtc.so");
        Assert.Equal(new LibraryCandidate(nvrtc, "beside libtorch"), Search(loaded: torch).Nvrtc().First());
        Assert.Equal(nvrtc, Search(variables: ("LIBTORCH_DIR", _folder["torch"])).Nvrtc().First().Path);
        Assert.Equal(1, Search(loaded: torch).Nvrtc().Count(c => c.Path.Contains(_folder.Path, StringComparison.Ordinal)));
    }

    /// <summary>A PyTorch wheel: site-packages/torch/lib, and NVIDIA's packages beside it.</summary>
    [Theory]
    [InlineData("nvidia", "cuda_nvrtc", "lib", "libnvrtc.so.12")]
    [InlineData("nvidia", "cu13", "lib", "libnvrtc.so.13")]
    public void PackagesBesideAWheel(params string[] parts)
    {
        string torch = _folder.Touch("site-packages", "torch", "lib", "libtorch_cpu.so"), nvrtc = _folder.Touch(["site-packages", .. parts]);
        Assert.Equal(nvrtc, Search(loaded: torch).Nvrtc().First().Path);
    }

    [Fact]
    public void Order()
    {
        string loaded = _folder.Touch("loaded", "libnvrtc.so.12"), bridge = _folder.Touch("bridge", "libLibTorchSharp.so");
        string[] expected =
        [
            loaded,
            _folder.Touch("bridge", "libnvrtc-00000000.so.12"),
            _folder.Touch("app", "libnvrtc.so.12"),
            _folder.Touch("app", "runtimes", "linux-x64", "native", "libnvrtc-11111111.so.12"),
            _folder.Touch("libtorch", "lib", "libnvrtc-22222222.so.12"),
            "libnvrtc.so.12", "libnvrtc.so.13", "libnvrtc.so.11.2", "libnvrtc.so",
            _folder.Touch("home", "lib64", "libnvrtc.so.13"),
            _folder.Touch("home", "lib64", "libnvrtc.so.12"), // an older one after the newer
            _folder.Touch("toolkit", "lib64", "libnvrtc.so.12"),
        ];
        LibrarySearch search = Search([loaded, bridge], ("LIBTORCH_DIR", _folder["libtorch"]), ("CUDA_HOME", _folder["home"]));
        Assert.Equal(expected, search.Nvrtc().Select(c => c.Path));
        Assert.Equal("libcuda.so.1", search.Driver().First().Path);
    }

    [Fact]
    public void Windows()
    {
        string nvrtc = _folder.Touch("app", "runtimes", "win-x64", "native", "nvrtc64_120_0.dll");
        _folder.Touch("app", "runtimes", "win-x64", "native", "nvrtc64_120_0.alt.dll");
        string builtins = _folder.Touch("app", "runtimes", "win-x64", "native", "nvrtc-builtins64_121.dll");
        string toolkit = _folder.Touch("cuda", "bin", "nvrtc64_130_0.dll"), nested = _folder.Touch("cuda", "bin", "x64", "nvrtc64_120_0.dll");
        var search = new LibrarySearch
        {
            IsWindows = true,
            Variable = name => name == "CUDA_PATH" ? _folder["cuda"] : null,
            ApplicationFolder = _folder["app"],
            LoadedLibraries = () => [],
            ToolkitFolders = [],
        };
        Assert.Equal([nvrtc, "nvrtc64_120_0.dll", "nvrtc64_130_0.dll", "nvrtc64_112_0.dll", toolkit, nested], search.Nvrtc().Select(c => c.Path));
        Assert.Equal(["nvcuda.dll"], search.Driver().Select(c => c.Path));
        Assert.Equal(builtins, search.BuiltinsOf(nvrtc, new Version(12, 1)));
        Assert.Null(search.BuiltinsOf(nvrtc, new Version(12, 4)));
    }

    [Fact]
    public void BuiltinsOfTheSameVersion()
    {
        string nvrtc = _folder.Touch("libnvrtc.so.12"), hashed = _folder.Touch("libnvrtc-builtins-6c5639ce.so.12.1"), plain = _folder.Touch("libnvrtc-builtins.so.12.4.127");
        Assert.Equal(hashed, Search().BuiltinsOf(nvrtc, new Version(12, 1)));
        Assert.Equal(plain, Search().BuiltinsOf(nvrtc, new Version(12, 4)));
        Assert.Null(Search().BuiltinsOf(nvrtc, new Version(12, 8)));
        Assert.Null(Search().BuiltinsOf("libnvrtc.so.12", new Version(12, 1)));
    }

    [Fact]
    public void WhatWasTriedIsTold()
    {
        string noLibrary = _folder.Touch("libcuda.so.1");
        var off = new CudaRuntime(Search(variables: (LibrarySearch.DriverVariable, noLibrary)), new DiskCache(null), KernelSources.Embedded);
        Assert.Null(off.Engine(0, out string reason));
        Assert.Contains(noLibrary, reason, StringComparison.Ordinal);
        Assert.Contains("file too short", reason, StringComparison.OrdinalIgnoreCase);
        Assert.Contains(LibrarySearch.DriverVariable, reason, StringComparison.Ordinal);
        Assert.Contains(reason, off.Describe(), StringComparison.Ordinal);

        var missing = new CudaRuntime(Search(variables: (LibrarySearch.DriverVariable, "/no/such/library.so")), new DiskCache(null), KernelSources.Embedded);
        Assert.Null(missing.Engine(0, out reason));
        Assert.Contains("/no/such/library.so (TORCHFLASH_CUDA_DRIVER): not there", reason, StringComparison.Ordinal);
    }

    [EmulatedFact]
    public void DriverWithoutCompiler()
    {
        var search = Search(variables: [(LibrarySearch.DriverVariable, EmulatedLibrary.Path), (LibrarySearch.NvrtcVariable, "/no/libnvrtc.so.12")]);
        var off = new CudaRuntime(search, new DiskCache(null), KernelSources.Embedded);
        Assert.Null(off.Engine(0, out string reason));
        Assert.Contains("NVRTC", reason, StringComparison.Ordinal);
        Assert.Contains("/no/libnvrtc.so.12 (TORCHFLASH_NVRTC): not there", reason, StringComparison.Ordinal);
    }

    /// <summary>A library that is none of NVIDIA's is not taken for one.</summary>
    [Fact]
    public void OtherLibrary()
    {
        if (!OperatingSystem.IsLinux())
            return;
        var off = new CudaRuntime(Search(variables: (LibrarySearch.DriverVariable, "libc.so.6")), new DiskCache(null), KernelSources.Embedded);
        Assert.Null(off.Engine(0, out string reason));
        Assert.Contains("cuInit", reason, StringComparison.Ordinal);
    }

    private LibrarySearch Search(string loaded, params (string Name, string Value)[] variables) => Search([loaded], variables);

    private LibrarySearch Search(params (string Name, string Value)[] variables) => Search([], variables);

    private LibrarySearch Search(string[] loaded, params (string Name, string Value)[] variables) => new()
    {
        IsWindows = false,
        Variable = name => variables.FirstOrDefault(v => v.Name == name).Value,
        ApplicationFolder = _folder["app"],
        LoadedLibraries = () => loaded,
        ToolkitFolders = [_folder["toolkit"]],
    };
}
