using System.Diagnostics;
using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>A process of its own, for what must be seen from the first moment on: this assembly, started as a program.</summary>
internal static class ProcessProbe
{
    /// <summary>Runs a step of <see cref="Main"/> and returns what it wrote.</summary>
    public static string Run(string step, params (string Name, string Value)[] variables)
    {
        var start = new ProcessStartInfo("dotnet", [typeof(ProcessProbe).Assembly.Location, step]) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach ((string name, string value) in variables)
            start.Environment[name] = value;
        start.Environment.Remove("LD_LIBRARY_PATH");
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, errors.Result);
        return output;
    }

    private static int Main(string[] arguments)
    {
        switch (arguments.FirstOrDefault())
        {
            case "cpu":
                AttendOnCpu();
                break;
            case "describe":
                Console.WriteLine(CudaEngine.DescribeAll());
                break;
            case "engine":
                Console.WriteLine(CudaEngine.TryGet(1, out CudaEngine? engine, out string reason) ? engine.Describe() : reason);
                break;
            case "compile":
                Compile();
                break;
            default:
                Console.Error.WriteLine("This is a test project: dotnet test.");
                return 2;
        }
        foreach (string line in File.ReadLines("/proc/self/maps"))
            if (line.Contains("cuda", StringComparison.OrdinalIgnoreCase) && line.Contains(".so", StringComparison.Ordinal)
                || line.Contains("nvrtc", StringComparison.Ordinal) || line.Contains("emulation", StringComparison.Ordinal))
                Console.WriteLine($"mapped {line}");
        return 0;
    }

    /// <summary>Machine code from the NVRTC that is found, or why not.</summary>
    private static void Compile()
    {
        var libraries = new CudaLibraries(new LibrarySearch());
        try
        {
            (byte[] image, _) = libraries.LoadNvrtc(new Version(11, 7), driver: null)!
                .Compile("nothing.cu", "extern \"C\" __global__ void nothing() {}", [], ["--gpu-architecture=sm_80"], toPtx: false, "nothing");
            Console.WriteLine($"compiled {image.Length} bytes");
        }
        catch (CudaCompilationException e)
        {
            Console.WriteLine(e.Log);
        }
    }

    /// <summary>The CPU engine from end to end, and what one may ask without asking for CUDA.</summary>
    private static unsafe void AttendOnCpu()
    {
        const int n = 3, d = 4;
        float* data = stackalloc float[5 * n * d + 2 * n];
        TensorView View(int i) => new((nint)(data + i * n * d), n * d, n * d, d);
        var problem = new AttentionProblem { Batch = 1, Heads = 1, QueryLength = n, KeyLength = n, HeadDim = d, ValueDim = d, Scale = 1 };
        CpuEngine.Instance.Forward(problem, new ForwardArguments
        {
            Query = View(0),
            Key = View(1),
            Value = View(2),
            Output = View(3),
            Statistics = new RowStatistics((nint)(data + 5 * n * d), (nint)(data + 5 * n * d + n)),
        });
        Console.WriteLine(CpuEngine.Instance.Describe());
        Console.WriteLine(string.Join(' ', KernelSources.Embedded.Kernels));
    }
}
