using System.Diagnostics;
using System.Text.Json;
using TorchFlash.Gpu.Report;
using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Files;

namespace TorchFlash.Gpu.Tests;

/// <summary>The program of the GPU run, as run.sh calls it: on the emulated GPU, and where there is none.</summary>
public class ProgramTests
{
    [EmulatedFact]
    public void ConformanceAndASmallVerificationPassOnTheEmulatedGpu()
    {
        foreach (int device in (int[])[EmulatedGpu.Ampere, EmulatedGpu.Hopper])
        {
            using var folder = new TemporaryFolder();
            string number = device.ToString(System.Globalization.CultureInfo.InvariantCulture);
            (int code, string output) = Run(folder, "conformance", "--device", number);
            Assert.True(code == ExitCode.Passed, output);
            (code, output) = Run(folder, "verify", "--small", "--device", number);
            Assert.True(code == ExitCode.Passed, output);
            Assert.Contains("EMULATED: no hardware ran", output);
            (code, output) = Run(folder, "summary", "conformance", "verify");
            Assert.True(code == ExitCode.Passed, output);
            using JsonDocument summary = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder.Path, "summary.json")));
            Assert.True(summary.RootElement.GetProperty("Passed").GetBoolean());
            Assert.False(summary.RootElement.GetProperty("RanOnHardware").GetBoolean());
            (code, _) = Run(folder, "summary", "conformance", "verify", "bench");
            Assert.Equal(ExitCode.Failed, code); // bench has not run
        }
    }

    [EmulatedFact]
    public void KernelsAreCompiledOnceBySeveralProcesses()
    {
        using var folder = new TemporaryFolder();
        for (int round = 0; round < 2; round++)
        {
            (int code, string output) = Run(folder, "precompile", "--small", "--device", "1", "--jobs", "2");
            Assert.True(code == ExitCode.Passed, output);
            Assert.Equal(["precompile.json"], Directory.GetFiles(folder.Path).Select(Path.GetFileName));
            Assert.True(round == 0 || output.Contains("kernels, 0 of them compiled", StringComparison.Ordinal), output);
        }
        (int late, string missing) = RunWith(folder, new() { [DiskCache.FolderVariable] = Path.Combine(folder.Path, "empty") }, "precompile", "--small", "--device", "1", "--jobs", "2", "--seconds", "0");
        Assert.Equal(ExitCode.Failed, late);
        Assert.Contains("not compiled, the time was over", missing);
    }

    [Fact]
    public void WithoutAGpuItSaysSoAndFails()
    {
        using var folder = new TemporaryFolder();
        foreach (string verb in (string[])["conformance", "verify"])
        {
            (int code, string output) = RunWith(folder, new() { [LibrarySearch.DriverVariable] = Path.Combine(folder.Path, "libcuda.so.1") }, verb);
            Assert.Equal(ExitCode.NoGpu, code);
            Assert.Contains("NO GPU", output);
            Assert.Contains("libcuda.so.1", output);
        }
        Assert.Empty(Directory.GetFiles(folder.Path));
    }

#if SYSTEM_LIBTORCH
    [EmulatedFact]
    public void MeasurementsCanBeRehearsed()
    {
        using var folder = new TemporaryFolder();
        foreach (string[] arguments in (string[][])[["bench", "--rehearsal", "--device", "1"], ["tune", "--rehearsal", "--device", "1", "--dim", "64", "--kernel", "forward_hopper"]])
        {
            (int code, string output) = Run(folder, arguments);
            Assert.True(code == ExitCode.Passed, output);
        }
        (int noTensors, string text) = Run(folder, "bench");
        Assert.Equal(TorchSharp.torch.cuda.is_available() ? ExitCode.Passed : ExitCode.NoGpu, noTensors);
        Assert.True(TorchSharp.torch.cuda.is_available() || text.Contains("NO GPU: libtorch", StringComparison.Ordinal), text);
    }
#endif

    private static (int Code, string Output) Run(TemporaryFolder folder, params string[] arguments) => RunWith(folder, [], arguments);

    private static (int Code, string Output) RunWith(TemporaryFolder folder, Dictionary<string, string> environment, params string[] arguments)
    {
        string program = Path.ChangeExtension(typeof(ExitCode).Assembly.Location, ".dll");
        var start = new ProcessStartInfo("dotnet", [program, .. arguments, "--out", folder.Path]) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach ((string name, string value) in environment)
            start.Environment[name] = value;
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + error.Result);
    }
}
