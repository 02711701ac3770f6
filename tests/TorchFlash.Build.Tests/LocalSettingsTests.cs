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

    [Fact]
    public void NamesAFileThatIsNotXmlAndReplacesIt()
    {
        File.WriteAllText(_path, "<Project><PropertyGroup>");

        var error = Assert.Throws<BuildException>(() => LocalSettings.Read(_path));
        Assert.StartsWith($"{_path} is not well-formed XML", error.Message, StringComparison.Ordinal);
        Assert.Contains("'setup'", error.Message, StringComparison.Ordinal);

        var settings = new LocalSettings(TorchSharpProvider.NuGet, TorchRuntime.Cpu, null, "0.105.1");
        settings.Write(_path);
        Assert.Equal(settings, LocalSettings.Read(_path));
    }

    [Theory]
    [InlineData("/opt/torch", true)]
    [InlineData(null, true)]
    [InlineData("/opt/another", false)]
    public void NuGetAskedForDespiteAFolderStandsUntilTheFolderChanges(string? libTorch, bool stands)
    {
        var settings = new LocalSettings(TorchSharpProvider.NuGet, TorchRuntime.Cpu, "/opt/torch", Repository.TorchSharpVersion);

        Assert.Equal(stands, TorchSharpSetup.Stands(settings, provider: null, runtime: null, libTorch));
    }
}
