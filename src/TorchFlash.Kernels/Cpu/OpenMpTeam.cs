using System.Runtime.InteropServices;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// The threads of the OpenMP library that this process has loaded, libtorch's own where there is one. For some milliseconds after each of its
/// operators they spin on their processors, and threads of ours would get none: a short pass between two operators would run on one.
/// </summary>
internal static unsafe class OpenMpTeam
{
    /// <summary>void GOMP_parallel(void (*fn)(void*), void* data, unsigned num_threads, unsigned flags)</summary>
    private static readonly delegate* unmanaged<delegate* unmanaged<nint, void>, nint, uint, uint, void> s_parallel;

    /// <summary>int omp_get_max_threads(void)</summary>
    private static readonly delegate* unmanaged[SuppressGCTransition]<int> s_maxThreads;

    static OpenMpTeam()
    {
        if (Find() is var (parallel, maxThreads))
        {
            s_parallel = (delegate* unmanaged<delegate* unmanaged<nint, void>, nint, uint, uint, void>)parallel;
            s_maxThreads = (delegate* unmanaged[SuppressGCTransition]<int>)maxThreads;
        }
    }

    /// <summary>Whether there is such a library: libgomp, on Linux.</summary>
    public static bool Exists => s_parallel != null;

    /// <summary>Threads of the team that this thread would work with, itself among them: what libtorch's number of threads sets. 0 where there is no library.</summary>
    public static int Size => Exists ? s_maxThreads() : 0;

    /// <summary>Runs the worker on up to so many threads of the team at once, no more than it has, and returns what it threw when all have ended.</summary>
    public static List<Exception> Run(int threads, Action worker)
    {
        var work = new Work(threads, worker);
        GCHandle handle = GCHandle.Alloc(work);
        // 0: the whole team. libgomp ends the threads that a smaller one leaves over, and libtorch's next operator would start them anew.
        s_parallel(&Join, GCHandle.ToIntPtr(handle), 0, 0);
        handle.Free();
        return work.Errors;
    }

    [UnmanagedCallersOnly]
    private static void Join(nint work) => ((Work)GCHandle.FromIntPtr(work).Target!).Join();

    private sealed class Work(int threads, Action worker)
    {
        private int _joined;

        public List<Exception> Errors { get; } = [];

        public void Join()
        {
            if (Interlocked.Increment(ref _joined) > threads)
                return;
            try
            {
                worker();
            }
            catch (Exception e)
            {
                lock (Errors)
                    Errors.Add(e);
            }
        }
    }

    private static (nint Parallel, nint MaxThreads)? Find()
    {
        if (!OperatingSystem.IsLinux())
            return null;
        try
        {
            // Not by its name: wheels bring it under one of their own.
            foreach (string line in File.ReadLines("/proc/self/maps"))
            {
                int path = line.IndexOf('/');
                if (path >= 0 && Path.GetFileName(line.AsSpan(path)).StartsWith("libgomp") && NativeLibrary.TryLoad(line[path..], out nint library)
                    && NativeLibrary.TryGetExport(library, "GOMP_parallel", out nint parallel)
                    && NativeLibrary.TryGetExport(library, "omp_get_max_threads", out nint maxThreads))
                    return (parallel, maxThreads);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Without a look at the process there are the threads of WorkerPool.
        }
        return null;
    }
}
