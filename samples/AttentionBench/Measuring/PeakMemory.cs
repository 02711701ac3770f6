using System.Diagnostics;
using System.Globalization;

namespace AttentionBench.Measuring;

/// <summary>Memory of this process, as the operating system counts it.</summary>
internal static class PeakMemory
{
    private const string Status = "/proc/self/status", ClearReferences = "/proc/self/clear_refs";

    /// <summary>
    /// Bytes by which the largest resident set during <paramref name="action"/> exceeds the one before. Exact on Linux, where the
    /// high-water mark can be reset; elsewhere a sample every millisecond.
    /// </summary>
    public static long Growth(Action action)
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        if (File.Exists(ClearReferences))
        {
            File.WriteAllText(ClearReferences, "5"); // high-water mark := resident set
            long before = FromStatus("VmRSS");
            action();
            return Math.Max(0, FromStatus("VmHWM") - before);
        }

        using var process = Process.GetCurrentProcess();
        long start = process.WorkingSet64, peak = start;
        bool done = false;
        var sampler = new Thread(() =>
        {
            for (; !Volatile.Read(ref done); Thread.Sleep(1))
                peak = Math.Max(peak, Environment.WorkingSet);
        });
        sampler.Start();
        action();
        Volatile.Write(ref done, true);
        sampler.Join();
        return peak - start;
    }

    private static long FromStatus(string field)
    {
        string line = File.ReadLines(Status).First(l => l.StartsWith(field, StringComparison.Ordinal));
        return 1024 * long.Parse(line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
    }
}
