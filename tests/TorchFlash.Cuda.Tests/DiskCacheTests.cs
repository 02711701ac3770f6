using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Files;

namespace TorchFlash.Cuda.Tests;

/// <summary>The cache of compiled kernels gives back what was put in, or nothing, and never fails a caller.</summary>
public sealed partial class DiskCacheTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    private string Own => Path.Combine(_folder.Path, DiskCache.OwnFolder);

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void GivesBackWhatWasPutIn()
    {
        string parent = Path.Combine(_folder.Path, "made", "on", "demand");
        var cache = new DiskCache(parent);
        Assert.Null(cache.Find(Key("a")));
        Assert.False(Directory.Exists(parent)); // not for looking
        cache.Keep(Key("a"), Image(1000));
        Assert.Equal(Image(1000), new DiskCache(parent).Find(Key("a")));
        cache.Keep(Key("a"), Image(10));
        Assert.Equal(Image(10), cache.Find(Key("a")));
        Assert.Null(cache.Find(Key("b")));
        cache.Keep(Key("empty"), []);
        Assert.Empty(cache.Find(Key("empty"))!);
        cache.Remove(Key("a"));
        Assert.Null(cache.Find(Key("a")));
        Assert.Null(cache.Problem);
        Assert.Equal([FileOf("empty", parent)], Directory.EnumerateFileSystemEntries(cache.Folder!));
        Assert.Equal([cache.Folder], Directory.EnumerateFileSystemEntries(parent));
    }

    /// <summary>Any changed or missing byte, in the header or in the image, and the file of another key.</summary>
    [Fact]
    public void DamagedFilesAreRemoved()
    {
        var cache = new DiskCache(_folder.Path);
        cache.Keep(Key("a"), Image(100));
        string path = FileOf("a");
        byte[] whole = File.ReadAllBytes(path);
        foreach (byte[] damaged in Enumerable.Range(0, whole.Length).SelectMany(i => (byte[][])[[.. whole[..i], (byte)(whole[i] ^ 0x40), .. whole[(i + 1)..]], whole[..i]])
            .Append([.. whole, 0]))
        {
            File.WriteAllBytes(path, damaged);
            Assert.Null(cache.Find(Key("a")));
            Assert.False(File.Exists(path));
        }
        File.WriteAllBytes(FileOf("b"), whole);
        Assert.Null(cache.Find(Key("b")));
        File.WriteAllBytes(path, whole);
        Assert.Equal(Image(100), cache.Find(Key("a")));
    }

    [Fact]
    public void ThoseUsedLongestAgoGoFirst()
    {
        var cache = new DiskCache(_folder.Path, limit: 4000);
        foreach (string key in new[] { "a", "b", "c" })
        {
            cache.Keep(Key(key), Image(1000));
            File.SetLastWriteTimeUtc(FileOf(key), DateTime.UtcNow.AddHours(-10 + key[0] - 'a'));
        }
        Assert.NotNull(cache.Find(Key("a"))); // used now
        cache.Keep(Key("d"), Image(1000));
        Assert.Null(cache.Find(Key("b")));
        Assert.All(new[] { "a", "c", "d" }, key => Assert.NotNull(cache.Find(Key(key))));
        cache.Keep(Key("large"), Image(5000)); // more than fits: it stays until something else comes
        Assert.NotNull(cache.Find(Key("large")));
        Assert.Null(cache.Find(Key("a")));
        cache.Keep(Key("e"), Image(1));
        Assert.Null(cache.Find(Key("large")));
    }

    [Fact]
    public void LeftoversOfDeadProcessesGo()
    {
        var cache = new DiskCache(_folder.Path);
        cache.Keep(Key("a"), Image(10));
        string old = FileOf("x", ending: $".{Guid.NewGuid():N}.tmp"), young = FileOf("y", ending: $".{Guid.NewGuid():N}.tmp");
        File.WriteAllText(old, "");
        File.WriteAllText(young, "");
        File.SetLastWriteTimeUtc(old, DateTime.UtcNow.AddHours(-2));
        cache.Keep(Key("b"), Image(10));
        Assert.False(File.Exists(old));
        Assert.True(File.Exists(young));
    }

    /// <summary>Files of other programs in the folder that is named, and of any that got into the cache's own.</summary>
    [Fact]
    public void OtherProgramsFilesStay()
    {
        var cache = new DiskCache(_folder.Path, limit: 100);
        cache.Keep(Key("a"), Image(50));
        string[] names = ["a.tmp", "a.cubin", Key("b") + ".cubin", Key("b") + ".tmp", $"{Key("b")}.{Guid.NewGuid():N}.tmp", "document.txt"];
        string[] foreign = [.. names.Select(n => Path.Combine(_folder.Path, n)), .. names.Where((_, i) => i is 0 or 1 or 3 or 5).Select(n => Path.Combine(Own, n)),
            Path.Combine(Own, Key("B").ToUpperInvariant() + ".cubin"), Path.Combine(Own, Key("b") + ".cubin.cubin")];
        foreach (string path in foreign)
        {
            File.WriteAllBytes(path, new byte[1000]);
            File.SetLastWriteTimeUtc(path, DateTime.UtcNow.AddDays(-10));
        }
        for (int i = 0; i < 5; i++)
            cache.Keep(Key("more" + i), Image(80 + i));
        Assert.Null(cache.Find(Key("a"))); // its own go
        Assert.All(foreign, path => Assert.Equal(1000, new FileInfo(path).Length));
    }

    [Fact]
    public void OnlyHexadecimalKeysNameFiles()
    {
        var cache = new DiskCache(_folder.Path);
        foreach (string key in new[] { "", "key", "../" + Key("a"), Key("a") + "\n", Key("a").ToUpperInvariant() })
            Assert.Throws<ArgumentException>(() => cache.Keep(key, Image(1)));
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder.Path));
    }

    [Fact]
    public void WhatIsMadeIsTheOwnersAlone()
    {
        if (OperatingSystem.IsWindows())
            return;
        new DiskCache(_folder.Path).Keep(Key("a"), Image(10));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Own));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(FileOf("a")));
    }

    /// <summary>Whoever can write machine code that this process runs can do what this process can.</summary>
    [Theory]
    [InlineData(UnixFileMode.GroupWrite)]
    [InlineData(UnixFileMode.OtherWrite)]
    public void WhatOthersCanWriteIsNeitherReadNorWritten(UnixFileMode more)
    {
        if (OperatingSystem.IsWindows())
            return;
        var cache = new DiskCache(_folder.Path);
        cache.Keep(Key("a"), Image(10));
        foreach (string path in (string[])[Own, FileOf("a")])
        {
            UnixFileMode mode = File.GetUnixFileMode(path);
            File.SetUnixFileMode(path, mode | more);
            AssertNotRead(cache, $"{path} can be written by others");
            File.SetUnixFileMode(path, mode);
            Assert.Equal(Image(10), cache.Find(Key("a")));
        }
        File.SetUnixFileMode(Own, File.GetUnixFileMode(Own) | more);
        AssertNothingKept("can be written by others");
    }

    [Fact]
    public void WhatBelongsToAnotherUserIsNeitherReadNorWritten()
    {
        if (!OperatingSystem.IsLinux() || !Environment.IsPrivilegedProcess)
            return; // only root can give away
        var cache = new DiskCache(_folder.Path);
        cache.Keep(Key("a"), Image(10));
        ChangeOwner(FileOf("a"), 65534);
        AssertNotRead(cache, "belongs to user 65534");
        ChangeOwner(FileOf("a"), 0);
        Assert.Equal(Image(10), cache.Find(Key("a")));
        ChangeOwner(Own, 65534);
        AssertNotRead(cache, "belongs to user 65534");
        AssertNothingKept("belongs to user 65534");
    }

    [Fact]
    public void LinksAreNotFollowed()
    {
        if (OperatingSystem.IsWindows())
            return; // links are for administrators
        string elsewhere = Directory.CreateDirectory(Path.Combine(_folder.Path, "elsewhere")).FullName;
        var there = new DiskCache(elsewhere);
        there.Keep(Key("a"), Image(10));
        Directory.CreateSymbolicLink(Own, there.Folder!);
        var cache = new DiskCache(_folder.Path);
        AssertNotRead(cache, "is not a folder");
        AssertNothingKept("is not a folder");
        Assert.Equal(Image(10), there.Find(Key("a")));

        Directory.Delete(Own);
        cache.Keep(Key("b"), Image(20));
        string document = _folder.Touch("document");
        foreach (string key in new[] { "a", "c" })
            File.CreateSymbolicLink(FileOf(key), key == "a" ? FileOf("a", elsewhere) : document);
        AssertNotRead(cache, "is not a file");
        cache.Keep(Key("c"), Image(30)); // in place of the link, not through it
        Assert.Equal(Image(30), cache.Find(Key("c")));
        Assert.Equal(0, new FileInfo(document).Length);
    }

    [Fact]
    public void FolderThatCannotBeMade()
    {
        string file = _folder.Touch("file");
        var cache = new DiskCache(Path.Combine(file, "below"));
        cache.Keep(Key("a"), Image(10));
        Assert.Null(cache.Find(Key("a")));
        Assert.NotNull(cache.Problem);
        Assert.Contains("not usable", cache.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void ReadOnlyFolderServesAndSaysSo()
    {
        if (OperatingSystem.IsWindows() || Environment.IsPrivilegedProcess)
            return; // may write anywhere
        new DiskCache(_folder.Path).Keep(Key("a"), Image(10));
        File.SetUnixFileMode(Own, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        try
        {
            var cache = new DiskCache(_folder.Path);
            Assert.Equal(Image(10), cache.Find(Key("a")));
            cache.Keep(Key("b"), Image(10));
            Assert.Null(cache.Find(Key("b")));
            Assert.NotNull(cache.Problem);
        }
        finally
        {
            File.SetUnixFileMode(Own, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    /// <summary>Many at once, writing, reading, removing for lack of space: everyone gets a whole image or none.</summary>
    [Fact]
    public void Concurrency()
    {
        var clock = Stopwatch.StartNew();
        Parallel.For(0, 8, thread =>
        {
            var cache = new DiskCache(_folder.Path, limit: 20_000); // like a process of its own
            var random = new Random(thread);
            while (clock.ElapsedMilliseconds < 500)
            {
                int size = 100 * random.Next(1, 60);
                string key = Key("size" + size);
                if (cache.Find(key) is { } found)
                    Assert.Equal(Image(size), found);
                else
                    cache.Keep(key, Image(size));
                if (random.Next(20) == 0)
                    cache.Remove(key);
            }
        });
        var survivor = new DiskCache(_folder.Path, limit: 20_000);
        survivor.Keep(Key("last"), Image(10));
        Assert.True(new DirectoryInfo(Own).EnumerateFiles("*.cubin").Sum(f => f.Length) <= 20_000);
        Assert.Empty(Directory.EnumerateFiles(Own, "*.tmp"));
    }

    [Fact]
    public void FolderByConvention()
    {
        AssertFolder("/home/u/.cache", isWindows: false);
        AssertFolder("/cache", isWindows: false, ("XDG_CACHE_HOME", "/cache"));
        AssertFolder("/home/u/.cache", isWindows: false, ("XDG_CACHE_HOME", "relative"));
        AssertFolder("/local", isWindows: true, ("XDG_CACHE_HOME", "/cache"));
        foreach (bool isWindows in (bool[])[false, true])
            AssertFolder("/named", isWindows, (DiskCache.FolderVariable, "/named"), ("XDG_CACHE_HOME", "/cache"));
        DiskCache none = DiskCache.FromEnvironment(_ => null, isWindows: false, "", "");
        Assert.Null(none.Folder);
        none.Keep(Key("a"), Image(1));
        Assert.Null(none.Find(Key("a")));
        Assert.Contains(DiskCache.FolderVariable, none.ToString(), StringComparison.Ordinal);
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
        Assert.Equal(mebibytes << 20, DiskCache.FromEnvironment(name => name == DiskCache.LimitVariable ? text : null, isWindows: false, "/home/u", "").Limit);

    private static void AssertFolder(string expected, bool isWindows, params (string Name, string Value)[] variables)
    {
        var cache = DiskCache.FromEnvironment(name => variables.FirstOrDefault(v => v.Name == name).Value, isWindows, "/home/u", "/local");
        Assert.Equal(Path.GetFullPath(Path.Combine(expected, DiskCache.OwnFolder)), Path.GetFullPath(cache.Folder!));
    }

    /// <summary>What is under "a" is not read, and the cache says why; nothing is removed.</summary>
    private void AssertNotRead(DiskCache cache, string why)
    {
        Assert.Null(cache.Find(Key("a")));
        Assert.Contains(why, cache.Problem);
        Assert.Contains(why, cache.ToString(), StringComparison.Ordinal);
        Assert.True(File.Exists(FileOf("a")));
    }

    /// <summary>A cache that nobody has used yet keeps nothing in the folder, removes nothing there, and says why.</summary>
    private void AssertNothingKept(string why)
    {
        var cache = new DiskCache(_folder.Path, limit: 0);
        Assert.Contains(why, cache.ToString(), StringComparison.Ordinal);
        cache.Keep(Key("b"), Image(10));
        cache.Remove(Key("a"));
        Assert.Contains(why, cache.Problem);
        Assert.Equal([FileOf("a")], Directory.EnumerateFileSystemEntries(Own));
    }

    private string FileOf(string key, string? parent = null, string ending = ".cubin") => Path.Combine(parent ?? _folder.Path, DiskCache.OwnFolder, Key(key) + ending);

    private static string Key(string name) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(name)));

    private static byte[] Image(int length) => [.. Enumerable.Range(0, length).Select(i => (byte)(i * 7 + length))];

    private static void ChangeOwner(string path, uint user) => Assert.Equal(0, ChangeOwner(path, user, uint.MaxValue));

    [LibraryImport("libc", EntryPoint = "chown", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int ChangeOwner(string path, uint user, uint group);
}
