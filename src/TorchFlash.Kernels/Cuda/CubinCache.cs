using System.Buffers.Binary;
using System.Security.Cryptography;

namespace TorchFlash.Kernels.Cuda;

/// <summary>
/// Compiled kernels on disk, one file each, shared by the processes of a user. A file is written under another name and then renamed, so
/// that nobody sees half of one; what is read is held against the SHA-256 it carries, and removed when it does not agree. When the files
/// outgrow the limit, those used longest ago go. Where the folder cannot be used, nothing is kept, and nothing fails.
/// </summary>
internal sealed class CubinCache
{
    public const string FolderVariable = "TORCHFLASH_CACHE", LimitVariable = "TORCHFLASH_CACHE_LIMIT";

    private const long DefaultLimit = 256L << 20;
    private const string Ending = ".cubin", TemporaryEnding = ".tmp";
    private const int MagicLength = 8, HeaderLength = MagicLength + sizeof(long) + SHA256.HashSizeInBytes;

    private readonly string? _folder;

    /// <param name="folder">Where; null: nowhere.</param>
    /// <param name="limit">Most bytes that the files may take together.</param>
    /// <param name="whyOff">Why there is no folder.</param>
    public CubinCache(string? folder, long limit = DefaultLimit, string whyOff = "")
    {
        _folder = folder;
        Limit = limit;
        Problem = folder is null ? whyOff : null;
    }

    /// <summary>Where the files are; null: nowhere.</summary>
    public string? Folder => _folder;

    /// <summary>Most bytes that the files may take together.</summary>
    public long Limit { get; }

    /// <summary>Why something could not be kept the last time, null when all is well.</summary>
    public string? Problem { get; private set; }

    private static ReadOnlySpan<byte> Magic => "TFCUBIN1"u8;

    /// <summary>The cache that the environment asks for, by the convention of the platform.</summary>
    public static CubinCache FromEnvironment(Func<string, string?> variable, CachePlatform platform, string home, string localApplicationData)
    {
        long limit = long.TryParse(variable(LimitVariable), System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out long mebibytes)
            && mebibytes < 1L << 40 ? mebibytes << 20 : DefaultLimit;
        if (variable(FolderVariable) is { Length: > 0 } named)
            return new CubinCache(Path.GetFullPath(named), limit);
        string parent = platform switch
        {
            CachePlatform.Windows => localApplicationData,
            CachePlatform.MacOS => home.Length > 0 ? Path.Combine(home, "Library", "Caches") : "",
            // The specification of XDG_CACHE_HOME: a relative path is no path.
            _ => variable("XDG_CACHE_HOME") is { Length: > 0 } cache && Path.IsPathRooted(cache) ? cache : home.Length > 0 ? Path.Combine(home, ".cache") : "",
        };
        return parent.Length > 0
            ? new CubinCache(Path.Combine(parent, platform == CachePlatform.Linux ? "torchflash" : "TorchFlash"), limit)
            : new CubinCache(null, limit, $"there is no home folder; {FolderVariable} can name a folder");
    }

    /// <summary>The cache that this process' environment asks for.</summary>
    public static CubinCache FromEnvironment() => FromEnvironment(
        Environment.GetEnvironmentVariable,
        OperatingSystem.IsWindows() ? CachePlatform.Windows : OperatingSystem.IsMacOS() ? CachePlatform.MacOS : CachePlatform.Linux,
        Environment.GetFolderPath(Environment.SpecialFolder.UserProfile),
        Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData));

    /// <summary>What was kept under the key, or null. A file that does not hold what it says is removed.</summary>
    public byte[]? Find(string key)
    {
        if (_folder is null)
            return null;
        string path = PathOf(key);
        try
        {
            if (!File.Exists(path))
                return null;
            byte[] file = File.ReadAllBytes(path);
            if (!IsIntact(file))
            {
                Remove(key);
                return null;
            }
            TouchQuietly(path);
            return file[HeaderLength..];
        }
        catch (Exception e) when (IsOfFileSystem(e))
        {
            Problem = e.Message;
            return null;
        }
    }

    /// <summary>Keeps an image under the key.</summary>
    public void Keep(string key, ReadOnlySpan<byte> image)
    {
        if (_folder is null)
            return;
        string temporary = Path.Combine(_folder, $"{key}.{Guid.NewGuid():N}{TemporaryEnding}");
        try
        {
            Directory.CreateDirectory(_folder);
            using (FileStream file = File.Create(temporary))
            {
                Span<byte> header = stackalloc byte[HeaderLength];
                Magic.CopyTo(header);
                BinaryPrimitives.WriteInt64LittleEndian(header[MagicLength..], image.Length);
                SHA256.HashData(image, header[(MagicLength + sizeof(long))..]);
                file.Write(header);
                file.Write(image);
            }
            File.Move(temporary, PathOf(key), overwrite: true);
            Problem = null;
            Shrink(PathOf(key));
        }
        catch (Exception e) when (IsOfFileSystem(e))
        {
            Problem = e.Message;
            DeleteQuietly(temporary);
        }
    }

    /// <summary>Forgets what is kept under the key.</summary>
    public void Remove(string key)
    {
        if (_folder is not null)
            DeleteQuietly(PathOf(key));
    }

    public override string ToString() =>
        _folder is null ? $"none: {Problem}"
            : $"{_folder}, at most {Limit >> 20} MiB ({CubinCache.LimitVariable})" + (Problem is null ? "" : $"; not usable: {Problem}");

    private string PathOf(string key) => Path.Combine(_folder!, key + Ending);

    private static bool IsIntact(ReadOnlySpan<byte> file)
    {
        if (file.Length < HeaderLength || !file.StartsWith(Magic))
            return false;
        ReadOnlySpan<byte> image = file[HeaderLength..];
        return BinaryPrimitives.ReadInt64LittleEndian(file[MagicLength..]) == image.Length
            && SHA256.HashData(image).AsSpan().SequenceEqual(file[(MagicLength + sizeof(long))..HeaderLength]);
    }

    /// <summary>Removes what was used longest ago until the limit is kept, and what a process that died has left half-written.</summary>
    private void Shrink(string newest)
    {
        var files = new List<(FileInfo File, long Length, DateTime Used)>();
        foreach (FileInfo file in new DirectoryInfo(_folder!).EnumerateFiles())
        {
            try
            {
                if (file.Extension == TemporaryEnding && DateTime.UtcNow - file.LastWriteTimeUtc > TimeSpan.FromHours(1))
                    DeleteQuietly(file.FullName);
                else if (file.Extension == Ending)
                    files.Add((file, file.Length, file.LastWriteTimeUtc));
            }
            catch (Exception e) when (IsOfFileSystem(e))
            {
                // Another process has removed it.
            }
        }
        long total = files.Sum(f => f.Length);
        foreach ((FileInfo file, long length, _) in files.Where(f => f.File.FullName != newest).OrderBy(f => f.Used))
        {
            if (total <= Limit)
                break;
            DeleteQuietly(file.FullName);
            total -= length;
        }
    }

    /// <summary>The time of the last change serves as that of the last use: access times are often not kept.</summary>
    private static void TouchQuietly(string path)
    {
        try
        {
            File.SetLastWriteTimeUtc(path, DateTime.UtcNow);
        }
        catch (Exception e) when (IsOfFileSystem(e))
        {
            // A read-only cache serves as well.
        }
    }

    private static void DeleteQuietly(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (IsOfFileSystem(e))
        {
            // Another process has it open (Windows), or may do what this one may not.
        }
    }

    private static bool IsOfFileSystem(Exception e) => e is IOException or UnauthorizedAccessException or System.Security.SecurityException or NotSupportedException or ArgumentException;
}

/// <summary>Whose convention for the place of caches is followed.</summary>
internal enum CachePlatform
{
    Linux,
    MacOS,
    Windows,
}
