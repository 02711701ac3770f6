using TorchFlash.Attention;
using TorchFlash.Kernels.Files;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>A search for the sizes of tiles, from the call to what another process finds of it.</summary>
public class TuneTests
{
    [Fact]
    public void ATuningIsUsedKeptAndFoundByTheNextEngine()
    {
        string folder = Directory.CreateTempSubdirectory("torchflash-tune").FullName;
        string? before = Environment.GetEnvironmentVariable(DiskCache.FolderVariable);
        int bits = flash.get_vector_bits();
        try
        {
            Environment.SetEnvironmentVariable(DiskCache.FolderVariable, folder);
            flash.set_vector_bits(bits); // an engine as a process makes it that starts here
            Assert.Contains("tiles by these", flash.describe(), StringComparison.Ordinal);

            (IReadOnlyList<string> results, TimeSpan time) = flash.tune(head_dim: 8);
            Assert.Collection(
                results,
                line => Assert.StartsWith("forward Float32 d = 8: ", line, StringComparison.Ordinal),
                line => Assert.StartsWith("backward Float32 d = 8: ", line, StringComparison.Ordinal),
                line => Assert.Equal($"kept in {Path.Combine(folder, DiskCache.OwnFolder)}", line));
            Assert.True(time > TimeSpan.Zero);
            Assert.Contains("tiles by search", flash.describe(), StringComparison.Ordinal);
            string sizes = Engines.Cpu.Plan.Tuned!.ToString();

            flash.set_vector_bits(bits);
            Assert.Contains("tiles by search", flash.describe(), StringComparison.Ordinal);
            Assert.Equal(sizes, Engines.Cpu.Plan.Tuned!.ToString());

            File.Delete(Assert.Single(Directory.GetFiles(Path.Combine(folder, DiskCache.OwnFolder))));
            flash.set_vector_bits(bits);
            Assert.Contains("tiles by these", flash.describe(), StringComparison.Ordinal);
        }
        finally
        {
            Environment.SetEnvironmentVariable(DiskCache.FolderVariable, before);
            flash.set_vector_bits(null);
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void ATuningRefusesWhatCannotBeTuned()
    {
        Assert.Equal("head_dim", Assert.ThrowsAny<ArgumentException>(() => flash.tune(head_dim: 0)).ParamName);
        Assert.ThrowsAny<ArgumentException>(() => flash.tune(ScalarType.Int64));
    }
}
