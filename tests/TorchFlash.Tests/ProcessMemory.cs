using System.Diagnostics;

namespace TorchFlash.Tests;

/// <summary>What the operating system says this process has in memory.</summary>
internal static class ProcessMemory
{
    public const long Mebibyte = 1 << 20;

    /// <summary>Bytes resident now, garbage collected first.</summary>
    public static long Settled()
    {
        for (int i = 0; i < 2; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        return Resident();
    }

    /// <summary>By how many bytes the process grew above where it stood, at the highest, while <paramref name="action"/> ran.</summary>
    public static long PeakGrowth(Action action)
    {
        long before = Settled(), peak = before;
        using CancellationTokenSource done = new();
        Thread sampler = new(() =>
        {
            while (!done.IsCancellationRequested)
            {
                peak = Math.Max(peak, Resident());
                Thread.Sleep(1);
            }
        });
        sampler.Start();
        action();
        done.Cancel();
        sampler.Join();
        return Math.Max(peak, Resident()) - before;
    }

    private static long Resident()
    {
        using Process process = Process.GetCurrentProcess();
        return process.WorkingSet64;
    }
}
