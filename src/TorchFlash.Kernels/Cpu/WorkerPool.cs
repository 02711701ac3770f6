using System.Runtime.ExceptionServices;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// Runs one piece of work on several threads, the caller among them: those of <see cref="OpenMpTeam"/>, or where it has not so many threads of
/// its own, which are kept: a larger team would be torn down by libtorch's next operator. Callers on different threads may use it at the same time. Work items are claimed by the workers themselves: when one worker returns there is none left, so that
/// nobody waits for a helper that has not begun by then.
/// </summary>
internal static class WorkerPool
{
    private static readonly Stack<Helper> s_idle = [];

    /// <summary>
    /// Multiply-adds that repay a thread: a few microseconds of them on threads that are awake after any operator of libtorch, some tens on those
    /// that have to be woken.
    /// </summary>
    public static double WorkOfThread => OpenMpTeam.Exists ? 1 << 18 : 1 << 20;

    /// <summary>
    /// Runs the worker on up to so many threads at once, fewer where the system gives no more or gives them too late, and returns when all
    /// that have begun have ended.
    /// </summary>
    /// <exception cref="AggregateException">The worker threw on several threads; what it threw on one comes out as it is.</exception>
    public static void Run(int threads, Action worker)
    {
        if (threads <= 1)
        {
            worker();
            return;
        }
        List<Exception> errors = threads <= OpenMpTeam.Size ? OpenMpTeam.Run(threads, worker) : RunOnHelpers(threads, worker);
        if (errors.Count == 1)
            ExceptionDispatchInfo.Capture(errors[0]).Throw();
        if (errors.Count > 1)
            throw new AggregateException(errors);
    }

    private static List<Exception> RunOnHelpers(int threads, Action worker)
    {
        var helpers = new List<Helper>(threads - 1);
        var errors = new List<Exception>();
        while (helpers.Count < threads - 1 && TryRent() is { } helper)
        {
            helpers.Add(helper);
            helper.Start(worker);
        }
        try
        {
            worker();
        }
        catch (Exception e)
        {
            errors.Add(e);
        }
        foreach (Helper helper in helpers)
        {
            if (helper.End() is { } error)
                errors.Add(error);
            Return(helper);
        }
        return errors;
    }

    private static Helper? TryRent()
    {
        try
        {
            return Rent();
        }
        catch (Exception e) when (e is OutOfMemoryException or ThreadStartException)
        {
            return null;
        }
    }

    private static Helper Rent()
    {
        lock (s_idle)
            return s_idle.Count > 0 ? s_idle.Pop() : new Helper();
    }

    private static void Return(Helper helper)
    {
        lock (s_idle)
            s_idle.Push(helper);
    }

    private sealed class Helper
    {
        private readonly SemaphoreSlim _start = new(0);
        private readonly SemaphoreSlim _done = new(0);

        /// <summary>What is to be done, until the helper begins with it or its caller takes it back.</summary>
        private Action? _work;

        private Exception? _error;

        public Helper() => new Thread(Loop) { IsBackground = true, Name = "TorchFlash worker" }.Start();

        public void Start(Action work)
        {
            _error = null;
            Volatile.Write(ref _work, work);
            _start.Release();
        }

        /// <summary>Waits for the end of work that has begun, and takes back other work.</summary>
        /// <returns>What the work threw.</returns>
        public Exception? End()
        {
            if (Interlocked.Exchange(ref _work, null) is not null)
                return null;
            _done.Wait();
            return _error;
        }

        private void Loop()
        {
            for (; ; )
            {
                _start.Wait();
                Work();
            }
        }

        private void Work()
        {
            if (Interlocked.Exchange(ref _work, null) is not { } work)
                return; // It was taken back.
            try
            {
                work();
            }
            catch (Exception e)
            {
                _error = e;
            }
            _done.Release();
        }
    }
}
