namespace TorchFlash.Build.Tests;

public sealed class LocalSettingsTests : IDisposable
{
    private readonly string _path = Path.GetTempFileName();

    public void Dispose() => File.Delete(_path);

    [Theory]
    [InlineData(null)]
    [InlineData("/opt/a & b/torch")]
    public void ReadsWhatItWrote(string? libTorch)
    {
        var settings = new LocalSettings(TorchSharpProvider.SystemLibTorch, TorchRuntime.Cuda, libTorch, "0.105.1");

        settings.Write(_path);

        Assert.Equal(settings, LocalSettings.Read(_path));
    }

    [Fact]
    public void FileWrittenByHandHasNoVersion()
    {
        File.WriteAllText(_path, "<Project><PropertyGroup><TorchSharpProvider>SystemLibTorch</TorchSharpProvider></PropertyGroup></Project>");

        Assert.Equal(new LocalSettings(TorchSharpProvider.SystemLibTorch, TorchRuntime.Cpu, null, null), LocalSettings.Read(_path));
    }

    [Fact]
    public void RefusesAnUnknownProvider()
    {
        File.WriteAllText(_path, "<Project><PropertyGroup><TorchSharpProvider>Conda</TorchSharpProvider></PropertyGroup></Project>");

        var error = Assert.Throws<BuildException>(() => LocalSettings.Read(_path));

        Assert.Contains("'Conda' is not one of NuGet, SystemLibTorch", error.Message, StringComparison.Ordinal);
    }
}
