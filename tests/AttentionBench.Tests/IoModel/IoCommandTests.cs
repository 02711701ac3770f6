using System.Xml.Linq;
using AttentionBench.IoModel;

namespace AttentionBench.Tests.IoModel;

public sealed class IoCommandTests
{
    private static (int Code, string Output, string Error) Run(params string[] arguments)
    {
        using StringWriter output = new(), error = new();
        int code = IoCommand.Command().Parse(arguments).Invoke(new() { Output = output, Error = error });
        return (code, output.ToString(), error.ToString());
    }

    private static readonly string[] s_machine = ["--caches", "32K,1M,16M", "--bandwidths", "400,200,80,20", "--ceiling", "150"];

    [Fact]
    public void TablesAndPicturesOfAGivenMachineAreTheSameEveryTime()
    {
        string folder = Directory.CreateTempSubdirectory("io").FullName;
        try
        {
            string[] arguments = [.. s_machine, "--pass", "both", "--n", "256", "512", "--at", "512", "--tiles", "96x48", "--simulate", "--svg", folder];
            (int code, string output, string error) = Run(arguments);
            Assert.Equal("", error);
            Assert.Equal(0, code);
            Assert.Equal(output, Run(arguments).Output);
            foreach (string name in new[] { "Bytes, forward", "Bytes, backward", "Which level binds", "Formula and simulation", "L3 from memory" })
                Assert.Contains(name, output);
            Assert.DoesNotContain("NaN", output);
            string[] files = Directory.GetFiles(folder, "*.svg");
            Assert.Equal(20, files.Length);
            Assert.All(files, file => Assert.Equal("svg", XDocument.Load(file).Root!.Name.LocalName));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void GpusAreDescribedByTheirVendorsFigures()
    {
        (int code, string output, _) = Run("--gpu", "all", "--pass", "both");
        Assert.Equal(0, code);
        foreach (string figure in new[] { "1.555", "2.039", "3.350", "312", "989", "164 KiB", "228 KiB", "data sheet" })
            Assert.Contains(figure, output);
    }

    [Theory]
    [InlineData("--tiles", "384")]
    [InlineData("--tiles", "0x96")]
    [InlineData("--caches", "48K")]
    [InlineData("--caches", "1M,48K")]
    [InlineData("--caches", "48K,-1M")]
    [InlineData("--bandwidths", "1,2,x")]
    [InlineData("--ceiling", "0")]
    [InlineData("--n", "0")]
    [InlineData("--dim", "0")]
    [InlineData("--gpu", "v100")]
    [InlineData("--dtype", "int8")]
    public void WrongOptionsAreRefusedByName(string option, string value)
    {
        (int code, _, string error) = Run(option, value);
        Assert.NotEqual(0, code);
        Assert.Contains(option == "--gpu" || option == "--dtype" ? value : option, error);
    }

    [Fact]
    public void BandwidthsMustFitTheCaches()
    {
        (int code, _, string error) = Run("--caches", "32K,1M", "--bandwidths", "1,2,3,4", "--ceiling", "1");
        Assert.Equal(1, code);
        Assert.Contains("4 numbers for 2 caches", error);
        (code, _, error) = Run([.. s_machine, "--n", "4096", "--simulate"]);
        Assert.Equal(1, code);
        Assert.Contains("at most 2048", error);
    }

    /// <summary>Every event has a count or a reason, never both missing.</summary>
    [Fact]
    public void CountersAreCountsOrReasons()
    {
        byte[]? pages = null;
        IReadOnlyList<HardwareCounters.Reading> readings = HardwareCounters.Count(() =>
        {
            pages = GC.AllocateUninitializedArray<byte>(64 << 20);
            for (int i = 0; i < pages.Length; i += 4096)
                pages[i] = 1;
        });
        Assert.Equal(HardwareCounters.All.Count, readings.Count);
        Assert.All(readings, reading => Assert.True(reading.Count is >= 0 || reading.Reason.Length > 0, reading.Name));
        // Where the system lets a program count itself, page faults are counted: one for every large page of what was touched, or about.
        HardwareCounters.Reading faults = readings.Single(reading => reading.Name == "page faults");
        Assert.True(faults.Count is >= 16 || faults.Reason.Contains("errno", StringComparison.Ordinal) || !OperatingSystem.IsLinux(), $"{faults}");
        GC.KeepAlive(pages);
    }

    [Theory]
    [InlineData(2, "virtual machine")]
    [InlineData(13, "perf_event_paranoid")]
    [InlineData(1, "perf_event_paranoid")]
    [InlineData(38, "kernel")]
    public void ARefusalIsExplained(int errno, string expected) => Assert.Contains(expected, HardwareCounters.Explain(errno));

    [Fact]
    public void BandwidthsAreMeasured()
    {
        double[] bandwidths = BandwidthProbe.Measure([32 << 10, 256 << 10]);
        Assert.Equal(3, bandwidths.Length);
        Assert.All(bandwidths, bandwidth => Assert.InRange(bandwidth, 1e7, 1e14));
    }

    [Theory]
    [InlineData("48K", 48 << 10)]
    [InlineData("1.5m", 3 << 19)]
    [InlineData("512", 512)]
    public void SizesAreRead(string text, double bytes) => Assert.Equal(bytes, MachineCaches.Parse(text));
}
