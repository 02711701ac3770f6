using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using TorchFlash.Kernels.Files;

namespace TorchFlash.Kernels.Cuda;

/// <summary>Images of kernels: out of the cache, or compiled and put there. Keeps count.</summary>
internal sealed class KernelCompiler(KernelSources sources, Nvrtc nvrtc, DiskCache cache)
{
    /// <summary>Raised when what is cached means something else than before.</summary>
    private const int FormatVersion = 3;

    private readonly Lock _lock = new();
    private readonly List<CompiledKernel> _compiled = [];
    private readonly List<(KernelVariant Variant, string Log)> _warnings = [];
    private readonly Stopwatch _busy = new();
    private int _running, _cacheHits;

    public Nvrtc Nvrtc => nvrtc;

    public DiskCache Cache => cache;

    /// <summary>What this process has compiled, in the order of completion.</summary>
    public IReadOnlyList<CompiledKernel> Compiled
    {
        get
        {
            lock (_lock)
                return [.. _compiled];
        }
    }

    /// <summary>What the compiler said of kernels, also of those that came out of the cache.</summary>
    public IReadOnlyList<(KernelVariant Variant, string Log)> Warnings
    {
        get
        {
            lock (_lock)
                return [.. _warnings];
        }
    }

    /// <summary>Time during which something was being compiled; several kernels at once count once.</summary>
    public TimeSpan Time
    {
        get
        {
            lock (_lock)
                return _busy.Elapsed;
        }
    }

    /// <summary>How many images came out of the cache.</summary>
    public int CacheHits => _cacheHits;

    /// <summary>The image, from the cache where it is there.</summary>
    /// <param name="variant">What.</param>
    /// <param name="isCached">Whether it came from the cache.</param>
    /// <exception cref="CudaCompilationException">It does not compile.</exception>
    public byte[] Image(KernelVariant variant, out bool isCached)
    {
        if (cache.Find(Key(variant)) is { } entry)
        {
            Interlocked.Increment(ref _cacheHits);
            isCached = true;
            (byte[] image, string log) = Unpack(entry);
            Note(variant, log);
            return image;
        }
        isCached = false;
        return Compile(variant);
    }

    /// <summary>The image, compiled anew, because the driver refuses the cached one.</summary>
    /// <exception cref="CudaCompilationException">It does not compile.</exception>
    public byte[] Recompile(KernelVariant variant)
    {
        cache.Remove(Key(variant));
        return Compile(variant);
    }

    /// <summary>SHA-256 of all that decides what the compiler makes of it.</summary>
    public string Key(KernelVariant variant)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{FormatVersion}\n{nvrtc.Version}\n{variant}\n{string.Join('\n', variant.Options)}\n");
        KernelSources own = SourcesOf(variant);
        text.Append(CultureInfo.InvariantCulture, $"{variant.FileName}\n{own[variant.FileName]}\n");
        foreach ((string name, string content) in own.HeadersOf(variant.FileName))
            text.Append(CultureInfo.InvariantCulture, $"{name}\n{content}\n");
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text.ToString())));
    }

    private KernelSources SourcesOf(KernelVariant variant) => variant.Score is null ? sources : sources.With(ScoreText.FileName, variant.Score);

    private byte[] Compile(KernelVariant variant)
    {
        var clock = Stopwatch.StartNew();
        Begin();
        try
        {
            KernelSources own = SourcesOf(variant);
            (byte[] image, string log) = nvrtc.Compile(variant.FileName, own[variant.FileName], own.HeadersOf(variant.FileName), variant.Options, variant.IsPtx, variant.ToString());
            lock (_lock)
                _compiled.Add(new CompiledKernel(variant, clock.Elapsed));
            Note(variant, log);
            cache.Keep(Key(variant), Pack(image, log));
            return image;
        }
        finally
        {
            End();
        }
    }

    /// <summary>An entry of the cache: the image, what the compiler said, the length of the image.</summary>
    private static byte[] Pack(byte[] image, string log)
    {
        byte[] length = new byte[sizeof(int)];
        BinaryPrimitives.WriteInt32LittleEndian(length, image.Length);
        return [.. image, .. Encoding.UTF8.GetBytes(log), .. length];
    }

    /// <summary>An entry that is none is taken for an image, which the driver will refuse.</summary>
    private static (byte[] Image, string Log) Unpack(byte[] entry)
    {
        int end = entry.Length - sizeof(int), length = end < 0 ? -1 : BinaryPrimitives.ReadInt32LittleEndian(entry.AsSpan(end));
        return length < 0 || length > end ? (entry, "") : (entry[..length], Encoding.UTF8.GetString(entry.AsSpan(length, end - length)));
    }

    private void Note(KernelVariant variant, string log)
    {
        if (log.Length == 0)
            return;
        lock (_lock)
            _warnings.Add((variant, log));
    }

    private void Begin()
    {
        lock (_lock)
            if (_running++ == 0)
                _busy.Start();
    }

    private void End()
    {
        lock (_lock)
            if (--_running == 0)
                _busy.Stop();
    }
}

/// <summary>A kernel that was compiled.</summary>
/// <param name="Variant">What.</param>
/// <param name="Time">How long it took, which is longer when others are being compiled: NVRTC does no two at a time.</param>
internal sealed record CompiledKernel(KernelVariant Variant, TimeSpan Time);
