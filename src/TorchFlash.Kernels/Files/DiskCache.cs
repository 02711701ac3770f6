using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;

namespace TorchFlash.Kernels.Files;

/// <summary>
/// Compiled kernels and sizes of tiles on disk, one file each, shared by the processes of a user. They lie in a folder of their own inside the one given. It must
/// be this user's, and nobody else may write to it: else, and where it cannot be made, nothing is read or kept, and nothing fails. A file is
/// written under a random name and then renamed, so that nobody sees half of one; what is read is held against the SHA-256 it carries, and removed
/// when it does not agree. When the files outgrow the limit, those used longest ago go; files with other names are not touched.
/// </summary>
/// <remarks>Names on disk are those of what it was made for, compiled kernels: folders that users have stay in use.</remarks>
internal sealed partial class DiskCache
{
    public const string FolderVariable = "TORCHFLASH_CACHE", LimitVariable = "TORCHFLASH_CACHE_LIMIT", OwnFolder = "torchflash-cubin";

    private const long DefaultLimit = 256L << 20;
    private const int MagicLength = 8, HeaderLength = MagicLength + sizeof(long) + SHA256.HashSizeInBytes;
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly string? _folder;

    /// <param name="parent">Inside of what; null: nowhere.</param>
    /// <param name="limit">Most bytes that the files may take together.</param>
    /// <param name="whyOff">Why there is no folder.</param>
    public DiskCache(string? parent, long limit = DefaultLimit, string whyOff = "")
    {
        _folder = parent is null ? null : Path.Combine(parent, OwnFolder);
        Limit = limit;
        Problem = parent is null ? whyOff : null;
    }

    /// <summary>Where the files are; null: nowhere.</summary>
    public string? Folder => _folder;

    /// <summary>Most bytes that the files may take together.</summary>
    public long Limit { get; }

    /// <summary>Why something could not be read or kept the last time, null when all is well.</summary>
    public string? Problem { get; private set; }

    private static ReadOnlySpan<byte> Magic => "TFCUBIN2"u8;

    /// <summary>The cache that the environment asks for, by the convention of the platform.</summary>
    public static DiskCache FromEnvironment(Func<string, string?> variable, bool isWindows, string home, string localApplicationData)
    {
        long limit = long.TryParse(variable(LimitVariable), System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out long mebibytes)
            && mebibytes < 1L << 40 ? mebibytes << 20 : DefaultLimit;
        string parent = variable(FolderVariable) is { Length: > 0 } named ? Path.GetFullPath(named)
            : isWindows ? localApplicationData
            // The specification of XDG_CACHE_HOME: a relative path is no path.
            : variable("XDG_CACHE_HOME") is { Length: > 0 } cache && Path.IsPathRooted(cache) ? cache
            : home.Length > 0 ? Path.Combine(home, ".cache") : "";
        return parent.Length > 0 ? new DiskCache(parent, limit)
            : new DiskCache(null, limit, $"there is no home folder; {FolderVariable} can name a folder");
    }

    /// <summary>The cache that this process' environment asks for.</summary>
    public static DiskCache FromEnvironment() => FromEnvironment(
        Environment.GetEnvironmentVariable,
        OperatingSystem.IsWindows(),
        Environment.GetFolderPath(Environment.SpecialFolder.UserProfile),
        Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData));

    /// <summary>What was kept under the key, or null. A file that does not hold what it says is removed.</summary>
    /// <param name="key">64 hexadecimal digits.</param>
    public byte[]? Find(string key)
    {
        if (_folder is null)
            return null;
        string path = PathOf(key);
        try
        {
            if (!FileTrust.IsThere(_folder, isFolder: true) || !FileTrust.IsThere(path, isFolder: false))
                return null;
            byte[] file;
            using (FileStream stream = File.OpenRead(path))
            {
                FileTrust.Check(stream.SafeFileHandle, path); // what is open need not be what was there before
                file = new byte[stream.Length];
                stream.ReadExactly(file);
            }
            if (!IsIntact(key, file))
            {
                DeleteQuietly(path);
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

    /// <summary>Keeps an entry under the key.</summary>
    /// <param name="key">64 hexadecimal digits.</param>
    /// <param name="entry">Its bytes.</param>
    public void Keep(string key, ReadOnlySpan<byte> entry)
    {
        if (_folder is null)
            return;
        string path = PathOf(key), temporary = Path.Combine(_folder, $"{key}.{Guid.NewGuid():N}.tmp");
        try
        {
            var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
            if (OperatingSystem.IsWindows())
                Directory.CreateDirectory(_folder);
            else
            {
                Directory.CreateDirectory(_folder, OwnerOnly | UnixFileMode.UserExecute);
                options.UnixCreateMode = OwnerOnly;
            }
            FileTrust.IsThere(_folder, isFolder: true);
            using (var file = new FileStream(temporary, options))
            {
                file.Write(Header(key, entry));
                file.Write(entry);
            }
            File.Move(temporary, path, overwrite: true);
            Problem = null;
            Shrink(path);
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
        try
        {
            if (_folder is not null && FileTrust.IsThere(_folder, isFolder: true))
                DeleteQuietly(PathOf(key));
        }
        catch (Exception e) when (IsOfFileSystem(e))
        {
            Problem = e.Message;
        }
    }

    /// <summary>Where it is, or why nothing is kept.</summary>
    public override string ToString()
    {
        if (_folder is null)
            return $"none: {Problem}";
        string? problem = Problem;
        try
        {
            FileTrust.IsThere(_folder, isFolder: true);
        }
        catch (Exception e) when (IsOfFileSystem(e))
        {
            problem = e.Message;
        }
        return $"{_folder}, at most {Limit >> 20} MiB ({LimitVariable})" + (problem is null ? "" : $"; not usable: {problem}");
    }

    private string PathOf(string key) => OwnName().IsMatch(key + ".cubin") ? Path.Combine(_folder!, key + ".cubin")
        : throw new ArgumentException($"A key is 64 hexadecimal digits, not '{key}'.", nameof(key));

    /// <summary>Magic, length, SHA-256 of key and entry: a file put under another name is none.</summary>
    private static byte[] Header(string key, ReadOnlySpan<byte> entry)
    {
        byte[] header = new byte[HeaderLength];
        Magic.CopyTo(header);
        BinaryPrimitives.WriteInt64LittleEndian(header.AsSpan(MagicLength), entry.Length);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.ASCII.GetBytes(key));
        hash.AppendData(entry);
        hash.GetHashAndReset(header.AsSpan(MagicLength + sizeof(long)));
        return header;
    }

    private static bool IsIntact(string key, ReadOnlySpan<byte> file) =>
        file.Length >= HeaderLength && file.StartsWith(Header(key, file[HeaderLength..]));

    /// <summary>Removes what was used longest ago until the limit is kept, and what a process that died has left half-written.</summary>
    private void Shrink(string newest)
    {
        var files = new List<(FileInfo File, long Length, DateTime Used)>();
        foreach (FileInfo file in new DirectoryInfo(_folder!).EnumerateFiles().Where(f => OwnName().IsMatch(f.Name)))
        {
            try
            {
                if (file.Attributes.HasFlag(FileAttributes.ReparsePoint))
                    continue; // a link, which is never made here
                if (file.Extension == ".cubin")
                    files.Add((file, file.Length, file.LastWriteTimeUtc));
                else if (DateTime.UtcNow - file.LastWriteTimeUtc > TimeSpan.FromHours(1))
                    DeleteQuietly(file.FullName);
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

    private static bool IsOfFileSystem(Exception e) => e is IOException or UnauthorizedAccessException or System.Security.SecurityException or NotSupportedException or ArgumentException
        or TypeLoadException; // a C library without statx

    [GeneratedRegex(@"^[0-9a-f]{64}\.(cubin|[0-9a-f]{32}\.tmp)\z")]
    private static partial Regex OwnName();
}
