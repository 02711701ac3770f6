using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace AttentionBench.IoModel;

/// <summary>How many bytes a second one thread reads out of working sets of a given size.</summary>
internal static unsafe class BandwidthProbe
{
    /// <summary>Bytes of a pass of the inner loop: eight of the widest registers.</summary>
    private const int Step = 8 * 64;

    private const double SecondsPerSample = .01;
    private const int Samples = 9;

    /// <summary>
    /// Bytes a second, the best of a few samples, out of every level: of a cache from half of it, of the memory from four times the last cache (64 to 512 MiB).
    /// </summary>
    /// <param name="caches">Bytes, the first level first.</param>
    public static double[] Measure(IReadOnlyList<double> caches)
    {
        double[] sets = [.. caches.Select(cache => cache / 2), Math.Clamp(4 * caches[^1], 64 << 20, 512 << 20)];
        return [.. sets.Select(bytes => Measure((long)bytes / Step * Step))];
    }

    private static double Measure(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bytes, Step);
        byte* data = (byte*)NativeMemory.AlignedAlloc((nuint)bytes, 4096);
        try
        {
            new Span<byte>(data, checked((int)bytes)).Clear(); // Also makes the pages real.
            float sink = Read(data, bytes);
            double best = 0;
            for (int sample = 0; sample < Samples; sample++)
            {
                long start = Stopwatch.GetTimestamp();
                double seconds;
                long passes = 0;
                do
                {
                    for (long i = Math.Max(1, (1 << 20) / bytes); i > 0; i--, passes++)
                        sink += Read(data, bytes);
                    seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
                }
                while (seconds < SecondsPerSample);
                best = Math.Max(best, passes * bytes / seconds);
            }
            return sink == 0 ? best : throw new InvalidOperationException("The memory that was read has changed."); // Also keeps the sums alive.
        }
        finally
        {
            NativeMemory.AlignedFree(data);
        }
    }

    private static float Read(byte* data, long bytes) => Vector512.IsHardwareAccelerated ? Read512((float*)data, bytes) : Read256((float*)data, bytes);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Read512(float* p, long bytes)
    {
        Vector512<float> a = default, b = default, c = default, d = default, e = default, f = default, g = default, h = default;
        for (float* end = p + bytes / sizeof(float); p < end; p += Step / sizeof(float))
        {
            a += Vector512.Load(p);
            b += Vector512.Load(p + 16);
            c += Vector512.Load(p + 32);
            d += Vector512.Load(p + 48);
            e += Vector512.Load(p + 64);
            f += Vector512.Load(p + 80);
            g += Vector512.Load(p + 96);
            h += Vector512.Load(p + 112);
        }
        return Vector512.Sum(a + b + (c + d) + (e + f + (g + h)));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Read256(float* p, long bytes)
    {
        Vector256<float> a = default, b = default, c = default, d = default, e = default, f = default, g = default, h = default;
        for (float* end = p + bytes / sizeof(float); p < end; p += Step / 2 / sizeof(float))
        {
            a += Vector256.Load(p);
            b += Vector256.Load(p + 8);
            c += Vector256.Load(p + 16);
            d += Vector256.Load(p + 24);
            e += Vector256.Load(p + 32);
            f += Vector256.Load(p + 40);
            g += Vector256.Load(p + 48);
            h += Vector256.Load(p + 56);
        }
        return Vector256.Sum(a + b + (c + d) + (e + f + (g + h)));
    }
}
