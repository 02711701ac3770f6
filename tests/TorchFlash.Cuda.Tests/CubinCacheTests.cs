using System.Diagnostics;
using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>The cache of compiled kernels gives back what was put in, or nothing, and never fails a caller.</summary>
public sealed class CubinCacheTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    private string File1 => Path.Combine(_folder.Path, "key.cubin");

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void GivesBackWhatWasPutIn()
    {
        var cache = new CubinCache(Path.Combine(_folder.Path, "made", "on", "demand"));
        Assert.Null(cache.Find("key"));
        cache.Keep("key", Image(1000));
        Assert.Equal(Image(1000), new CubinCache(cache.Folder).Find("key"));
        cache.Keep("key", Image(10));
        Assert.Equal(Image(10), cache.Find("key"));
        Assert.Null(cache.Find("another"));
        cache.Keep("empty", []);
        Assert.Empty(cache.Find("empty")!);
        cache.Remove("key");
        Assert.Null(cache.Find("key"));
        Assert.Null(cache.Problem);
        Assert.DoesNotContain(Directory.EnumerateFiles(cache.Folder!), f => f.EndsWith(".tmp", StringComparison.Ordinal));
    }

    /// <summary>Any changed or missing byte, in the header or in the image.</summary>
    [Fact]
    public void DamagedFilesAreRemoved()
    {
        var cache = new CubinCache(_folder.Path);
        cache.Keep("key", Image(100));
        byte[] whole = File.ReadAllBytes(File1);
        for (int i = 0; i < whole.Length; i++)
        {
            byte[] damaged = [.. whole];
            damaged[i] ^= 0x40;
            File.WriteAllBytes(File1, damaged);
            Assert.Null(cache.Find("key"));
            Assert.False(File.Exists(File1));
            File.WriteAllBytes(File1, whole[..i]);
            Assert.Null(cache.Find("key"));
            Assert.False(File.Exists(File1));
        }
        File.WriteAllBytes(File1, [.. whole, 0]);
        Assert.Null(cache.Find("key"));
        File.WriteAllBytes(File1, whole);
        Assert.Equal(Image(100), cache.Find("key"));
    }

    [Fact]
    public void ThoseUsedLongestAgoGoFirst()
    {
        var cache = new CubinCache(_folder.Path, limit: 4000);
        foreach (string key in new[] { "a", "b", "c" })
        {
            cache.Keep(key, Image(1000));
            File.SetLastWriteTimeUtc(Path.Combine(_folder.Path, key + ".cubin"), DateTime.UtcNow.AddHours(-10 + key[0] - 'a'));
        }
        Assert.NotNull(cache.Find("a")); // used now
        cache.Keep("d", Image(1000));
        Assert.Null(cache.Find("b"));
        Assert.All(new[] { "a", "c", "d" }, key => Assert.NotNull(cache.Find(key)));
        cache.Keep("large", Image(5000)); // more than fits: it stays until something else comes
        Assert.NotNull(cache.Find("large"));
        Assert.Null(cache.Find("a"));
        cache.Keep("e", Image(1));
        Assert.Null(cache.Find("large"));
    }

    [Fact]
    public void LeftoversOfDeadProcessesGo()
    {
        string old = _folder.Touch("x.1.tmp"), young = _folder.Touch("y.2.tmp");
        File.SetLastWriteTimeUtc(old, DateTime.UtcNow.AddHours(-2));
        new CubinCache(_folder.Path).Keep("key", Image(10));
        Assert.False(File.Exists(old));
        Assert.True(File.Exists(young));
    }

    [Fact]
    public void FolderThatCannotBeMade()
    {
        string file = _folder.Touch("file");
        var cache = new CubinCache(Path.Combine(file, "below"));
        cache.Keep("key", Image(10));
        Assert.Null(cache.Find("key"));
        Assert.NotNull(cache.Problem);
        Assert.Contains(cache.Problem!, cache.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void ReadOnlyFolderServesAndSaysSo()
    {
        if (OperatingSystem.IsWindows() || Environment.IsPrivilegedProcess)
            return; // may write anywhere
        new CubinCache(_folder.Path).Keep("key", Image(10));
        File.SetUnixFileMode(_folder.Path, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        try
        {
            var cache = new CubinCache(_folder.Path);
            Assert.Equal(Image(10), cache.Find("key"));
            cache.Keep("another", Image(10));
            Assert.Null(cache.Find("another"));
            Assert.NotNull(cache.Problem);
        }
        finally
        {
            File.SetUnixFileMode(_folder.Path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    /// <summary>Many at once, writing, reading, removing for lack of space: everyone gets a whole image or none.</summary>
    [Fact]
    public void Concurrency()
    {
        var clock = Stopwatch.StartNew();
        Parallel.For(0, 8, thread =>
        {
            var cache = new CubinCache(_folder.Path, limit: 20_000); // like a process of its own
            var random = new Random(thread);
            while (clock.ElapsedMilliseconds < 500)
            {
                int size = 100 * random.Next(1, 60);
                if (cache.Find("size" + size) is { } found)
                    Assert.Equal(Image(size), found);
                else
                    cache.Keep("size" + size, Image(size));
                if (random.Next(20) == 0)
                    cache.Remove("size" + size);
            }
        });
        var survivor = new CubinCache(_folder.Path, limit: 20_000);
        survivor.Keep("last", Image(10));
        Assert.True(new DirectoryInfo(_folder.Path).EnumerateFiles("*.cubin").Sum(f => f.Length) <= 20_000);
        Assert.Empty(Directory.EnumerateFiles(_folder.Path, "*.tmp"));
    }

    [Fact]
    public void FolderByConvention()
    {
        AssertFolder("/home/u/.cache/torchflash", CachePlatform.Linux);
        AssertFolder("/cache/torchflash", CachePlatform.Linux, ("XDG_CACHE_HOME", "/cache"));
        AssertFolder("/home/u/.cache/torchflash", CachePlatform.Linux, ("XDG_CACHE_HOME", "relative"));
        AssertFolder("/home/u/Library/Caches/TorchFlash", CachePlatform.MacOS, ("XDG_CACHE_HOME", "/cache"));
        AssertFolder("/local/TorchFlash", CachePlatform.Windows);
        foreach (CachePlatform platform in Enum.GetValues<CachePlatform>())
            AssertFolder("/named", platform, (CubinCache.FolderVariable, "/named"), ("XDG_CACHE_HOME", "/cache"));
        CubinCache none = CubinCache.FromEnvironment(_ => null, CachePlatform.Linux, "", "");
        Assert.Null(none.Folder);
        none.Keep("key", Image(1));
        Assert.Null(none.Find("key"));
        Assert.Contains(CubinCache.FolderVariable, none.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null, 256)]
    [InlineData("", 256)]
    [InlineData("many", 256)]
    [InlineData("-3", 256)]
    [InlineData("99999999999999999", 256)]
    [InlineData("7", 7)]
    [InlineData("0", 0)]
    public void LimitFromEnvironment(string? text, long mebibytes) =>
        Assert.Equal(mebibytes << 20, CubinCache.FromEnvironment(name => name == CubinCache.LimitVariable ? text : null, CachePlatform.Linux, "/home/u", "").Limit);

    private static void AssertFolder(string expected, CachePlatform platform, params (string Name, string Value)[] variables)
    {
        var cache = CubinCache.FromEnvironment(name => variables.FirstOrDefault(v => v.Name == name).Value, platform, "/home/u", "/local");
        Assert.Equal(Path.GetFullPath(expected), Path.GetFullPath(cache.Folder!));
    }

    private static byte[] Image(int length) => [.. Enumerable.Range(0, length).Select(i => (byte)(i * 7 + length))];
}
