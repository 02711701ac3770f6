namespace TorchFlash.Cuda.Tests;

/// <summary>A folder that goes with the test.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("torchflash-").FullName;

    /// <summary>A path inside, its folders made.</summary>
    public string this[params string[] parts]
    {
        get
        {
            string path = System.IO.Path.Combine([Path, .. parts]);
            Directory.CreateDirectory(System.IO.Path.GetDirectoryName(path)!);
            return path;
        }
    }

    /// <summary>An empty file inside.</summary>
    public string Touch(params string[] parts)
    {
        string path = this[parts];
        File.WriteAllText(path, "");
        return path;
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
