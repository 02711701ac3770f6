namespace TorchFlash.Testing;

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

    /// <summary>A path inside.</summary>
    public string File(string name) => System.IO.Path.Combine(Path, name);

    /// <summary>An empty file inside.</summary>
    public string Touch(params string[] parts) => Write(System.IO.Path.Combine(parts), "");

    /// <summary>A file inside.</summary>
    public string Write(string name, string content)
    {
        string path = this[name];
        System.IO.File.WriteAllText(path, content);
        return path;
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);

    public override string ToString() => Path;
}
