using System.Runtime.InteropServices;
using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>The emulated GPU behaves as a driver and a compiler do where that matters to the engine, failures included.</summary>
public unsafe class EmulatedDriverTests
{
    private const string Program = """
        #include "device.cuh"
        struct Parameters { const float* in; float* out; int count; };
        KERNEL(twice, 64, 1, PARAMETER(Parameters) p, PARAMETER(double) factor) {
          const int i = block_id() * 64 + thread_id();
          if (i < p.count) stg(p.out + i, (float)factor * ldg(p.in + i));
        }
        KERNEL_SHAPE(64, 1024, 7);
        """;

    private static byte[] Compile(string source = Program, string architecture = "sm_80") =>
        EmulatedGpu.Compile("twice.cu", source, architecture, "K_SHARED_LIMIT=166912");

    [EmulatedFact]
    public void KernelRuns()
    {
        using var current = EmulatedGpu.Use(0);
        nint module = EmulatedGpu.Driver.LoadModule(Compile());
        int[] shape = new int[16];
        EmulatedGpu.Driver.ReadGlobal<int>(module, "torchflash_shape", shape);
        Assert.Equal([64, 1024, 7, 0], shape[..4]);
        nint kernel = EmulatedGpu.Driver.Function(module, "twice");
        Assert.Equal(24, EmulatedGpu.ParameterBytes(kernel, 0));
        Assert.Equal(8, EmulatedGpu.ParameterBytes(kernel, 1));
        foreach (int workers in (int[])[1, 3])
        {
            using var input = EmulatedGpu.Memory<float>.Input([.. Enumerable.Range(0, 1000).Select(i => (float)i)]);
            using var output = new EmulatedGpu.Memory<float>(1000);
            EmulatedGpu.Set("workers", workers);
            Assert.Null(RunTwice(kernel, 16, 64, 0, input.Address, output.Address));
            Assert.Equal(Enumerable.Range(0, 1000).Select(i => 2f * i), output.Read());
            Assert.Equal(16, EmulatedGpu.Statistics["blocks"]);
        }
    }

    [EmulatedFact]
    public void DevicesDiffer()
    {
        CudaDriver driver = EmulatedGpu.Driver;
        Assert.Equal([80, 90, 86], Enumerable.Range(0, driver.DeviceCount).Select(d =>
            10 * driver.Attribute(DeviceAttribute.ComputeCapabilityMajor, d) + driver.Attribute(DeviceAttribute.ComputeCapabilityMinor, d)));
        Assert.Equal([166912, 232448, 101376],
            Enumerable.Range(0, 3).Select(d => EmulatedGpu.Driver.Attribute(DeviceAttribute.MaxSharedMemoryPerBlockOptin, d)));
    }

    [EmulatedTheory]
    [InlineData("sm_80", 0, 0)]
    [InlineData("sm_80", 2, 0)]      // 8.6 runs code for 8.0
    [InlineData("sm_80", 1, 209)]    // 9.0 does not
    [InlineData("sm_86", 0, 209)]
    [InlineData("sm_90a", 1, 0)]
    [InlineData("sm_90a", 0, 209)]
    public void ModuleNeedsItsArchitecture(string architecture, int device, int code)
    {
        byte[] image = Compile(architecture: architecture);
        using var current = EmulatedGpu.Use(device);
        Assert.Equal(code, LoadCode(image));
    }

    [EmulatedFact]
    public void DamagedImageIsRefused()
    {
        byte[] image = Compile();
        using var current = EmulatedGpu.Use(0);
        foreach (int at in (int[])[0, 20, 40, image.Length / 2, image.Length - 1])
        {
            byte[] damaged = [.. image];
            damaged[at] ^= 0x55;
            Assert.Contains(LoadCode(damaged), (int[])[200, 209]);
        }
        Assert.Equal(200, LoadCode(new byte[4096]));
        Assert.Equal(200, LoadCode([1, 2, 3]));
    }

    [EmulatedFact]
    public void CompilerReportsErrors()
    {
        var failure = Assert.Throws<CudaCompilationException>(() => Compile("#include \"device.cuh\"\nKERNEL(k, 64, 1) { nonsense(); }\n"));
        Assert.Contains("twice.cu:2", failure.ToString(), StringComparison.Ordinal);
        Assert.Contains("nonsense", failure.ToString(), StringComparison.Ordinal);
        Assert.Throws<CudaCompilationException>(() => Compile(architecture: "sm_20"));
    }

    [EmulatedFact]
    public void MissingCompilerIsNamed()
    {
        EmulatedGpu.SetCompiler("no-such-compiler");
        try
        {
            var failure = Assert.Throws<CudaCompilationException>(() => Compile());
            Assert.Contains("no-such-compiler was not found", failure.Message, StringComparison.Ordinal);
        }
        finally
        {
            EmulatedGpu.SetCompiler("");
        }
    }

    [EmulatedFact]
    public void HostMemoryIsAnOperandWhileRegistered()
    {
        using var current = EmulatedGpu.Use(0);
        nint kernel = EmulatedGpu.Driver.Function(EmulatedGpu.Driver.LoadModule(Compile()), "twice");
        float[] storage = [.. Enumerable.Range(0, 200).Select(i => (float)i)];
        float[] result = new float[100];
        fixed (float* from = storage, to = result)
        {
            using (EmulatedGpu.Register(to, 400, writable: true))
            using (EmulatedGpu.Register(from, 800, writable: false))          // a storage, twice,
            using (EmulatedGpu.Register(from, 800, writable: false))
            using (EmulatedGpu.Register(from + 10, 40, writable: false))      // and a part of it
            {
                Assert.Null(RunTwice(kernel, 2, 64, 0, (nint)(from + 5), (nint)to, count: 100));
                Assert.Equal(Enumerable.Range(5, 100).Select(i => 2f * i), result);
                Assert.Contains("into the input", RunTwice(kernel, 2, 64, 0, (nint)from, (nint)(from + 100), count: 100), StringComparison.Ordinal);
            }
            Assert.Contains("in no buffer", RunTwice(kernel, 2, 64, 0, (nint)from, (nint)to, count: 100), StringComparison.Ordinal);
        }
    }

    [EmulatedFact]
    public void EndlessLoopEnds()
    {
        const string source = """
            #include "device.cuh"
            struct Parameters { float* out; };
            KERNEL(endless, 32, 1, PARAMETER(Parameters) p) {
              while (ldg(p.out) >= 0.f) sync_warp();
            }
            """;
        using var current = EmulatedGpu.Use(0);
        nint kernel = EmulatedGpu.Driver.Function(EmulatedGpu.Driver.LoadModule(Compile(source)), "endless");
        using var output = new EmulatedGpu.Memory<float>(1);
        output.Write([1]);
        nint address = output.Address;
        void** parameters = stackalloc void*[] { &address };
        EmulatedGpu.Set("steps", 100000);
        string? finding = EmulatedGpu.Launch(kernel, 1, 32, 0, parameters);
        EmulatedGpu.Set("steps", 400000000);
        Assert.Contains("endless loop", finding, StringComparison.Ordinal);
    }

    [EmulatedFact]
    public void LaunchBeyondTheLimitsIsRefused()
    {
        using var current = EmulatedGpu.Use(0);
        nint kernel = EmulatedGpu.Driver.Function(EmulatedGpu.Driver.LoadModule(Compile()), "twice");
        using var memory = EmulatedGpu.Memory<float>.Input(new float[1]);
        using var output = new EmulatedGpu.Memory<float>(64);
        Assert.Contains("launch bounds", RunTwice(kernel, 1, 96, 0, memory.Address, output.Address), StringComparison.Ordinal);
        Assert.Contains("shared memory", RunTwice(kernel, 1, 64, 64 << 10, memory.Address, output.Address), StringComparison.Ordinal);
        Assert.Throws<CudaException>(() => EmulatedGpu.Driver.AllowSharedMemory(kernel, 200 << 10));
        EmulatedGpu.Driver.AllowSharedMemory(kernel, 64 << 10);
        Assert.Null(RunTwice(kernel, 1, 64, 64 << 10, memory.Address, output.Address, count: 1));
        Assert.Contains("empty", RunTwice(kernel, 0, 64, 0, memory.Address, output.Address), StringComparison.Ordinal);
        var missing = Assert.Throws<CudaException>(() => EmulatedGpu.Driver.Function(EmulatedGpu.Driver.LoadModule(Compile()), "thrice"));
        Assert.Equal(500, missing.Code);
    }

    [EmulatedFact]
    public void NothingWorksWithoutAContext()
    {
        var thread = new Thread(() => Assert.Equal(201, LoadCode(Compile())));
        thread.Start();
        thread.Join();
    }

    [EmulatedFact]
    public void FindingTravelsInTheException()
    {
        using var current = EmulatedGpu.Use(0);
        nint kernel = EmulatedGpu.Driver.Function(EmulatedGpu.Driver.LoadModule(Compile()), "twice");
        using var input = EmulatedGpu.Memory<float>.Input(new float[1]);
        using var output = new EmulatedGpu.Memory<float>(64);
        var parameters = new Parameters { In = input.Address, Out = output.Address, Count = 2 };
        double factor = 2;
        nint* pointers = stackalloc nint[] { (nint)(&parameters), (nint)(&factor) };
        CudaException? failure = null;
        try
        {
            EmulatedGpu.Driver.Launch(kernel, 1, 64, 0, 0, (void**)pointers, "twice");
        }
        catch (CudaException e)
        {
            failure = e;
        }
        Assert.NotNull(failure);
        Assert.Equal(719, failure.Code);
        Assert.Contains("twice.cu:5: global load out of bounds", failure.Message, StringComparison.Ordinal);
    }

    [EmulatedFact]
    public void BankConflictsOfPlainAccessesAreCounted()
    {
        const string source = """
            #include "device.cuh"
            template <int STRIDE> DEVICE void run() {
              for (int i = thread_id(); i < 1024; i += 32) sts<u32>(shared_base() + i * 4, 0u);
              sync_warp();
              (void)lds<u32>(shared_base() + thread_id() * STRIDE * 4);
              sync_warp();
            }
            KERNEL(free_of_them, 32, 1, PARAMETER(int) unused) { (void)unused; run<1>(); }
            KERNEL(two_way, 32, 1, PARAMETER(int) unused) { (void)unused; run<2>(); }
            KERNEL(all_in_one, 32, 1, PARAMETER(int) unused) { (void)unused; run<32>(); }
            """;
        using var current = EmulatedGpu.Use(0);
        nint module = EmulatedGpu.Driver.LoadModule(Compile(source));
        EmulatedGpu.Set("shared_conflicts", 1);
        int unused = 0;
        void** parameters = stackalloc void*[] { &unused };
        foreach ((string name, int conflicts) in (IEnumerable<(string, int)>)[("free_of_them", 0), ("two_way", 1), ("all_in_one", 31)])
        {
            Assert.Null(EmulatedGpu.Launch(EmulatedGpu.Driver.Function(module, name), 1, 32, 4096, parameters));
            Assert.Equal(conflicts, EmulatedGpu.Statistics["shared_conflicts"]);
        }
        EmulatedGpu.Set("shared_conflicts", 0);
    }

    [EmulatedFact]
    public void RegisterThatWasNeverSetIsNotZero()
    {
        const string source = """
            #include "device.cuh"
            struct Result { float* out; };
            KERNEL(forgetful, 32, 1, PARAMETER(Result) p) {
              float sum[4];
              for (int i = 1; i < 4; i++) sum[i] = 0.f;
              for (int i = 0; i < 4; i++) sum[i] += 1.f;
              stg(p.out + thread_id(), sum[thread_id() % 4]);
            }
            """;
        using var current = EmulatedGpu.Use(0);
        nint kernel = EmulatedGpu.Driver.Function(EmulatedGpu.Driver.LoadModule(Compile(source)), "forgetful");
        using var output = new EmulatedGpu.Memory<float>(32);
        nint address = output.Address;
        void** parameters = stackalloc void*[] { &address };
        Assert.Null(EmulatedGpu.Launch(kernel, 1, 32, 0, parameters));
        Assert.All(output.Read().Select((x, i) => (x, i)), v => Assert.Equal(v.i % 4 != 0, v.x == 1f));
    }

    private static string? RunTwice(nint kernel, int blocks, int threads, int sharedBytes, nint input, nint output, int count = 1000)
    {
        var parameters = new Parameters { In = input, Out = output, Count = count };
        double factor = 2;
        nint* pointers = stackalloc nint[] { (nint)(&parameters), (nint)(&factor) };
        return EmulatedGpu.Launch(kernel, blocks, threads, sharedBytes, (void**)pointers);
    }

    private static int LoadCode(byte[] image)
    {
        try
        {
            _ = EmulatedGpu.Driver.LoadModule(image);
            return 0;
        }
        catch (CudaException e)
        {
            return e.Code;
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Parameters
    {
        public nint In, Out;
        public int Count;
    }
}
